import { useState } from "react";
import { part, post, remove } from "../../api/client";
import type { DecisionRow, Label, LabelName } from "../../api/types";
import { Button, Sums } from "../../parts/basic";
import { Dialog } from "../../parts/dialog";
import { sumsOf } from "../../parts/sums";
import { say, sayError } from "../../parts/toasts";
import { keyOfRow } from "./payments_table";

const MAX_BULK = 500;

interface BulkProps {
  name: LabelName | null;
  rows: DecisionRow[];
  close: () => void;
  done: (made: [string, Label][]) => void;
  undone: (keys: string[]) => void;
}

interface BulkAnswer {
  accepted: string[];
  refused: { transaction_id: string; reason: string }[];
  sends_at: string;
}

/** The count and the money first, then one label for all of them. */
export function Bulk({ name, rows, close, done, undone }: BulkProps) {
  const [busy, setBusy] = useState(false);
  const word = name === "fraud" ? "fraud" : "genuine";
  const act = async () => {
    if (name === null) return;
    setBusy(true);
    try {
      const answer = await post<BulkAnswer>("/queue/label", { items: rows.map(({ tenant, transaction_id }) => ({ tenant, transaction_id })), label: name });
      const taken = new Set(answer.accepted);
      const accepted = rows.filter((row) => taken.has(row.transaction_id));
      const made: Label = { label: name, by: null, source: "analyst", at: new Date().toISOString(), state: "waiting", sends_at: answer.sends_at };
      done(accepted.map((row) => [keyOfRow(row), made]));
      const refused = answer.refused.length > 0 ? `; ${answer.refused.length} refused: ${answer.refused[0]?.reason ?? ""}` : "";
      say(`${accepted.length} labelled as ${word}${refused}`, {
        untilMs: new Date(answer.sends_at).getTime(),
        undo: async () => {
          for (const row of accepted) await remove(`/queue/${part(row.transaction_id)}/label`, { tenant: row.tenant });
          undone(accepted.map(keyOfRow));
        },
      });
      close();
    } catch (error) {
      sayError(error);
    } finally {
      setBusy(false);
    }
  };
  const tooMany = rows.length > MAX_BULK ? `At most ${MAX_BULK} at once.` : null;
  return (
    <Dialog title={`Label ${rows.length} payments as ${word}?`} open={name !== null} close={close}>
      <p className="soft">
        Together <Sums sums={sumsOf(rows)} />. They can be undone for 10 seconds, then the labels are sent.
      </p>
      {tooMany && <p className="message warn">{tooMany}</p>}
      <div className="actions">
        <Button onClick={close}>Cancel</Button>
        <Button look={name === "fraud" ? "danger" : "primary"} refused={tooMany ?? (busy ? "It is being carried out." : null)} onClick={() => void act()}>
          Label {rows.length} as {word}
        </Button>
      </div>
    </Dialog>
  );
}
