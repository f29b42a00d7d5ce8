import { useState } from "react";
import { put } from "../api/client";
import { Field } from "../parts/basic";
import { FormDialog } from "../parts/dialog";
import { say } from "../parts/toasts";

const SHORTEST = 12;

/** Replaces the reader's own password. */
export function PasswordDialog({ close }: { close: () => void }) {
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const act = async () => {
    await put("/session/password", { current, new: next });
    say("The new password counts from now on.");
  };
  return (
    <FormDialog title="Your password" verb="Change" close={close} act={act} refused={next.length < SHORTEST ? `At least ${SHORTEST} characters.` : null}>
      <Field name="Current password">
        {(id) => <input id={id} className="input" type="password" autoComplete="current-password" required autoFocus value={current} onChange={(event) => setCurrent(event.target.value)} />}
      </Field>
      <Field name="New password" hint={`${SHORTEST} to 256 characters.`}>
        {(id) => <input id={id} className="input" type="password" autoComplete="new-password" required maxLength={256} value={next} onChange={(event) => setNext(event.target.value)} />}
      </Field>
    </FormDialog>
  );
}
