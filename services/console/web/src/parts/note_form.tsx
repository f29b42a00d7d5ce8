import { type FormEvent, useState } from "react";
import { Button, Field } from "./basic";

/** Writes a note; what was typed stays if it is refused. `refused`: why the person may not. */
export function NoteForm({ refused, add }: { refused: string | null; add: (text: string) => Promise<unknown> }) {
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState("");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!text.trim()) return;
    try {
      await add(text.trim());
      setText("");
      setWrong("");
    } catch (error) {
      setWrong(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <form className="stack tight no-print" onSubmit={(event) => void submit(event)}>
      <Field name="Note" wrong={wrong}>
        {(id) => <textarea id={id} className="input" rows={2} maxLength={2000} disabled={refused !== null} value={text} onChange={(event) => setText(event.target.value)} />}
      </Field>
      <div className="row">
        <Button type="submit" refused={refused ?? (text.trim() ? null : "Write something first.")}>
          Add note
        </Button>
      </div>
    </form>
  );
}
