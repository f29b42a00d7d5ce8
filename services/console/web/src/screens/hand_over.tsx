import { type FormEvent, useState } from "react";
import { part, post, put } from "../api/client";
import type { DecisionRow, Lock } from "../api/types";
import { Button, Field } from "../parts/basic";
import { Dialog } from "../parts/dialog";
import { say } from "../parts/toasts";

/** Gives the lock of a payment to a colleague. */
export function HandOver({ row, open, close, done }: { row: DecisionRow; open: boolean; close: () => void; done: (lock: Lock) => void }) {
  const [to, setTo] = useState("");
  const [said, setSaid] = useState("");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setSaid("");
    try {
      const path = `/queue/${part(row.transaction_id)}`;
      if (!row.lock?.mine) await put<Lock>(`${path}/lock`, { tenant: row.tenant });
      done(await post<Lock>(`${path}/hand-over`, { tenant: row.tenant, to: to.trim() }));
      say(`${to.trim()} holds ${row.transaction_id} now.`);
      setTo("");
      close();
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <Dialog title="Hand over to a colleague" open={open} close={close}>
      <form className="stack" onSubmit={(event) => void submit(event)}>
        <Field name="Colleague" hint={`Who goes on with ${row.transaction_id}.`} wrong={said}>
          {(id) => <input id={id} className="input" required maxLength={64} autoFocus value={to} onChange={(event) => setTo(event.target.value)} />}
        </Field>
        <div className="actions">
          <Button onClick={close}>Cancel</Button>
          <Button type="submit" look="primary">
            Hand over
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
