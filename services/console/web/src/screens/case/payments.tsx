import { useState } from "react";
import { post } from "../../api/client";
import { useMay } from "../../api/session";
import type { LabelName } from "../../api/types";
import { Button, Empty, Panel, Sums } from "../../parts/basic";
import { ReasonDialog } from "../../parts/dialog";
import { whole } from "../../parts/format";
import { sumsOf } from "../../parts/sums";
import { Together } from "../review/bulk";
import { keyOfRow, LABEL_WORDS, type Labelled, sayMany } from "../review/labelling";
import { PaymentsTable } from "../review/payments_table";
import type { Part } from "./case";

/** The payments of a case; many can be labelled at once. */
export function Payments({ of, again }: Part) {
  const may = useMay("label");
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [label, setLabel] = useState<LabelName | null>(null);
  const rows = of.rows.filter((row) => picked.has(keyOfRow(row)));
  const refused = !may.may ? may.why : of.state === "closed" ? "The case is closed." : rows.length === 0 ? "Select payments first." : rows.length > 500 ? "At most 500 at once." : null;
  const act = async (why: string) => {
    if (label === null) return;
    const made = await post<Labelled>(`/cases/${of.case}/label`, { label, why, transaction_ids: rows.map((row) => row.transaction_id) });
    setPicked(new Set());
    await again();
    sayMany(label, made, made.accepted.map((transaction_id) => ({ tenant: of.tenant, transaction_id })), again);
  };
  return (
    <Panel
      className="span-12"
      title={of.counted === 1 ? "1 payment" : `${whole(of.counted)} payments`}
      aside={
        <div className="row wrap no-print">
          <span className="quiet small">
            {rows.length > 0 ? `${rows.length} selected, ` : of.counted > of.rows.length ? `the newest ${of.rows.length}, ` : ""}
            <Sums sums={sumsOf(rows.length > 0 ? rows : of.rows)} />
          </span>
          <Button look="danger" refused={refused} onClick={() => setLabel("fraud")}>
            Fraud …
          </Button>
          <Button refused={refused} onClick={() => setLabel("legit")}>
            Genuine …
          </Button>
        </div>
      }
      bare
    >
      {of.rows.length === 0 ? (
        <Empty title="No payment is kept">The console keeps payments that were not approved, for 30 days.</Empty>
      ) : (
        <PaymentsTable rows={of.rows} select={{ picked, set: setPicked }} />
      )}
      {label && (
        <ReasonDialog
          title={`Label ${rows.length} payments as ${LABEL_WORDS[label]}?`}
          verb={`Label ${rows.length} as ${LABEL_WORDS[label]}`}
          danger={label === "fraud"}
          why="It stands in the case beside your name."
          close={() => setLabel(null)}
          act={act}
        >
          <Together rows={rows} />
        </ReasonDialog>
      )}
    </Panel>
  );
}
