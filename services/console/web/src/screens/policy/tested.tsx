/** What a policy would have done to past payments. */

import type { PolicySide, RuleTest, Sample } from "../../api/types";
import { Sums, Time } from "../../parts/basic";
import { percent, whole, words } from "../../parts/format";
import { type Column, Table } from "../../parts/table";
import { decisionPath, Link } from "../../shell/router";
import { PAYMENT } from "../review/payments_table";
import { precisionOf } from "./hits";

export const changesOf = ({ changed }: RuleTest): string => Object.entries(changed).map(([kind, count]) => `${whole(count)} ${kind}`).join(", ") || "nothing";

const COUNTS = ["frauds_caught", "frauds_missed", "false_alarms"] as const;
const MONEY = ["caught_minor", "missed_minor", "false_alarms_minor"] as const;
type Effect = (typeof COUNTS)[number] | (typeof MONEY)[number];

function effect(side: PolicySide, name: Effect) {
  const found = side[name];
  return typeof found === "number" ? whole(found) : <Sums sums={Object.entries(found).map(([currency, minor]) => ({ currency, minor }))} />;
}

export function Tested({ answer }: { answer: RuleTest }) {
  const { before, after, labels } = answer;
  return (
    <div className="stack tight" role="status">
      <p>
        {whole(answer.rows)} payments from <Time at={answer.since} /> to <Time at={answer.until} />. Changed: {changesOf(answer)}.
      </p>
      <p className="quiet small">
        {whole(labels.fraud)} known frauds, {whole(labels.honest)} genuine, {whole(labels.unknown)} too recent for a label, {whole(labels.censored)} declined at the time, of which nobody knows.
      </p>
      <Table<Effect>
        rows={[...COUNTS, ...MONEY]}
        keyOf={(name) => name}
        columns={[
          { name: "Effect", heads: true, cell: (name) => (name.endsWith("_minor") ? `${words(name.replace("_minor", ""))}, money` : words(name)) },
          { name: "Before", look: "number", cell: (name) => effect(before, name) },
          { name: "After", look: "number", cell: (name) => effect(after, name) },
        ]}
      />
      {Object.keys(answer.rules).length > 0 && <Table rows={Object.entries(answer.rules)} keyOf={([name]) => name} columns={RULES} />}
      {answer.samples.length > 0 && (
        <details>
          <summary>
            Payments that it would have decided differently <span className="quiet small">{answer.samples.length}, the newest of each kind</span>
          </summary>
          <Table rows={answer.samples} keyOf={(row, at) => (row.transaction_id ?? "") + String(at)} columns={SAMPLES} tall />
        </details>
      )}
      {Object.entries(answer.errors).map(([name, error]) => (
        <p key={name} className="message warn">
          skipped: {name}: {error}
        </p>
      ))}
    </div>
  );
}

type Found = [string, RuleTest["rules"][string]];
const FOUND = { matched: "Matched", changed: "Changed", fraud: "Fraud", honest: "Genuine", censored: "Declined", unknown: "Unknown" } as const;

function precision({ fraud, honest }: Found[1]): string {
  const found = precisionOf({ fraud, legit: honest });
  return found === null ? "–" : `${percent(found.share, 0)} (${percent(found.low, 0).replace(" %", "")} to ${percent(found.high, 0)})`;
}

const RULES: Column<Found>[] = [
  { name: "Rule or list", look: "break", heads: true, cell: ([name]) => name },
  ...(Object.keys(FOUND) as (keyof typeof FOUND)[]).map((kind) => ({ name: FOUND[kind], look: "number", cell: ([, found]: Found) => whole(found[kind]) })),
  { name: "Precision", look: "number", cell: ([, found]) => precision(found) },
];

const LABELS = { fraud: "fraud", honest: "genuine", censored: "declined, nobody knows", unknown: "no label yet" } as const;

const SAMPLES: Column<Sample>[] = [
  { name: "Change", look: "nowrap", cell: (row) => row.change },
  {
    name: "Payment",
    look: "break",
    heads: true,
    cell: ({ transaction_id, tenant }) => (transaction_id === null ? "–" : <Link href={decisionPath(transaction_id, tenant ?? "default")}>{transaction_id}</Link>),
  },
  PAYMENT.amount,
  PAYMENT.score,
  { name: "Because", look: "break", cell: (row) => row.rules.join(", ") || "the score" },
  { name: "Label", look: "nowrap", cell: (row) => LABELS[row.label] },
];
