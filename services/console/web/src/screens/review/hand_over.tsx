import { useState } from "react";
import { part, post, put } from "../../api/client";
import type { DecisionRow, Lock } from "../../api/types";
import { Field } from "../../parts/basic";
import { FormDialog } from "../../parts/dialog";
import { say } from "../../parts/toasts";

/** Gives the lock of a payment to a colleague. */
export function HandOver({ row, close, done }: { row: DecisionRow; close: () => void; done: (lock: Lock) => void }) {
  const [to, setTo] = useState("");
  const act = async () => {
    const path = `/queue/${part(row.transaction_id)}`;
    if (!row.lock?.mine) await put<Lock>(`${path}/lock`, { tenant: row.tenant });
    done(await post<Lock>(`${path}/hand-over`, { tenant: row.tenant, to: to.trim() }));
    say(`${to.trim()} holds ${row.transaction_id} now.`);
  };
  return (
    <FormDialog title="Hand over to a colleague" verb="Hand over" close={close} act={act}>
      <Field name="Colleague" hint={`Who goes on with ${row.transaction_id}.`}>
        {(id) => <input id={id} className="input" required maxLength={64} autoFocus value={to} onChange={(event) => setTo(event.target.value)} />}
      </Field>
    </FormDialog>
  );
}
