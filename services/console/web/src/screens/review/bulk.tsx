import { post } from "../../api/client";
import type { DecisionRow, Label, LabelName } from "../../api/types";
import { Sums } from "../../parts/basic";
import { FormDialog } from "../../parts/dialog";
import { sumsOf } from "../../parts/sums";
import { keyOfRow, LABEL_WORDS, type Labelled, sayMany } from "./labelling";

const MAX_BULK = 500;

interface BulkProps {
  name: LabelName;
  rows: DecisionRow[];
  close: () => void;
  done: (made: [string, Label][]) => void;
  undone: (keys: string[]) => void;
}

/** The count and the money first, then one label for all of them. */
export function Bulk({ name, rows, close, done, undone }: BulkProps) {
  const act = async () => {
    const answer = await post<Labelled>("/queue/label", { items: rows.map(({ tenant, transaction_id }) => ({ tenant, transaction_id })), label: name });
    const taken = new Set(answer.accepted);
    const accepted = rows.filter((row) => taken.has(row.transaction_id));
    const made: Label = { label: name, by: null, source: "analyst", at: new Date().toISOString(), state: "waiting", sends_at: answer.sends_at };
    done(accepted.map((row) => [keyOfRow(row), made]));
    sayMany(name, answer, accepted, () => undone(accepted.map(keyOfRow)));
  };
  return (
    <FormDialog
      title={`Label ${rows.length} payments as ${LABEL_WORDS[name]}?`}
      verb={`Label ${rows.length} as ${LABEL_WORDS[name]}`}
      danger={name === "fraud"}
      refused={rows.length > MAX_BULK ? `At most ${MAX_BULK} at once.` : null}
      close={close}
      act={act}
    >
      <Together rows={rows} />
      {rows.length > MAX_BULK && <p className="message warn">At most {MAX_BULK} at once.</p>}
    </FormDialog>
  );
}

/** What is said before many are labelled. */
export function Together({ rows }: { rows: DecisionRow[] }) {
  return (
    <p className="soft">
      Together <Sums sums={sumsOf(rows)} />. They can be undone for 10 seconds, then the labels are sent.
    </p>
  );
}
