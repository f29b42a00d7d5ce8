import { type FormEvent, useState } from "react";
import { Problem, put } from "../api/client";
import { Button, Field } from "../parts/basic";
import { Dialog } from "../parts/dialog";
import { say } from "../parts/toasts";

const SHORTEST = 12;

/** Replaces the reader's own password. */
export function PasswordDialog({ close }: { close: () => void }) {
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const [wrong, setWrong] = useState<Record<string, string>>({});
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (next.length < SHORTEST) {
      setWrong({ new: `At least ${SHORTEST} characters.` });
      return;
    }
    try {
      await put("/session/password", { current, new: next });
      say("The new password counts from now on.");
      close();
    } catch (error) {
      setWrong({ [error instanceof Problem && error.field === "new" ? "new" : "current"]: error instanceof Error ? error.message : String(error) });
    }
  };
  return (
    <Dialog title="Your password" open close={close}>
      <form className="stack" onSubmit={(event) => void submit(event)}>
        <Field name="Current password" wrong={wrong.current}>
          {(id) => <input id={id} className="input" type="password" autoComplete="current-password" required autoFocus value={current} onChange={(event) => setCurrent(event.target.value)} />}
        </Field>
        <Field name="New password" hint={`${SHORTEST} to 256 characters.`} wrong={wrong.new}>
          {(id) => <input id={id} className="input" type="password" autoComplete="new-password" required maxLength={256} value={next} onChange={(event) => setNext(event.target.value)} />}
        </Field>
        <div className="actions">
          <Button onClick={close}>Cancel</Button>
          <Button type="submit" look="primary">
            Change
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
