import type { DecisionRow } from "../../api/types";
import { Money, Tag, Time, Verdict } from "../../parts/basic";
import { score, words } from "../../parts/format";
import { type Column, picking, Table } from "../../parts/table";
import { decisionPath, Link } from "../../shell/router";
import { LabelState } from "./label_state";
import { keyOfRow } from "./labelling";

interface Picking {
  picked: ReadonlySet<string>;
  set: (picked: ReadonlySet<string>) => void;
}

type Shown = Pick<DecisionRow, "transaction_id" | "tenant" | "decision" | "amount_minor" | "currency" | "score">;

/** Columns that every table of payments has. */
export const PAYMENT = {
  id: { name: "Payment", look: "break", cell: (row: Shown) => <Link href={decisionPath(row.transaction_id, row.tenant)}>{row.transaction_id}</Link> },
  verdict: { name: "Decision", cell: (row: Pick<Shown, "decision">) => <Verdict name={row.decision} /> },
  amount: { name: "Amount", look: "number", cell: (row: Pick<Shown, "amount_minor" | "currency">) => <Money minor={row.amount_minor} currency={row.currency} /> },
  score: { name: "Score", look: "number", cell: (row: Pick<Shown, "score">) => (row.score === null ? "–" : score(row.score)) },
  label: { name: "Label", cell: (row: DecisionRow) => row.label && <LabelState label={row.label} /> },
};

const COLUMNS: Column<DecisionRow>[] = [
  { name: "Decided", cell: (row) => <Time at={row.decided_at} /> },
  PAYMENT.id,
  {
    name: "Decision",
    cell: (row) => (
      <>
        <Verdict name={row.decision} /> {row.status !== "scored" && <Tag tone="warn">{words(row.status)}</Tag>}
      </>
    ),
  },
  PAYMENT.score,
  PAYMENT.amount,
  { name: "Why", look: "soft", cell: (row) => row.reasons[0]?.text ?? "" },
  { name: "Card", look: "break", cell: (row) => <Link href={`/decisions?card=${encodeURIComponent(row.card_id)}`}>{row.card_id}</Link> },
  PAYMENT.label,
];

/** Payments that were not approved, one a row. `at`: the row that the keyboard is on; `select`: rows can be selected. */
export function PaymentsTable({ rows, at = -1, select }: { rows: DecisionRow[]; at?: number; select?: Picking }) {
  const boxes = select ? [picking<DecisionRow>(select.picked, select.set, keyOfRow, (row) => row.transaction_id, rows)] : [];
  return <Table columns={[...boxes, ...COLUMNS]} rows={rows} keyOf={keyOfRow} link selected={(row, place) => place === at || (select?.picked.has(keyOfRow(row)) ?? false)} />;
}
