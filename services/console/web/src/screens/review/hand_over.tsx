import { useState } from "react";
import { post, put } from "../../api/client";
import type { DecisionRow, Lock } from "../../api/types";
import { FormDialog } from "../../parts/dialog";
import { say } from "../../parts/toasts";
import { Colleague } from "./colleagues";
import { queuePath } from "./labelling";

/** Gives the lock of a payment to a colleague. */
export function HandOver({ row, close, done }: { row: DecisionRow; close: () => void; done: (lock: Lock) => void }) {
  const [to, setTo] = useState("");
  const act = async () => {
    if (!row.lock?.mine) await put<Lock>(`${queuePath(row)}/lock`, { tenant: row.tenant });
    done(await post<Lock>(`${queuePath(row)}/hand-over`, { tenant: row.tenant, to: to.trim() }));
    say(`${to.trim()} holds ${row.transaction_id} now.`);
  };
  return (
    <FormDialog title="Hand over to a colleague" verb="Hand over" close={close} act={act}>
      <Colleague focus value={to} change={setTo} hint={`Who goes on with ${row.transaction_id}.`} />
    </FormDialog>
  );
}
