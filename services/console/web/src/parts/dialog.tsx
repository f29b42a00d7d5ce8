import { type ReactNode, useState } from "react";
import { Dialog as AriaDialog, Heading, Modal, ModalOverlay } from "react-aria-components";
import { Button, Field } from "./basic";

export function Dialog({ title, open, close, wide = false, className = "", children }: { title: string; open: boolean; close: () => void; wide?: boolean; className?: string; children: ReactNode }) {
  return (
    <ModalOverlay className="scrim" isDismissable isOpen={open} onOpenChange={(now) => !now && close()}>
      <Modal className={`dialog ${wide ? "wide" : ""} ${className}`}>
        <AriaDialog aria-label={title}>
          {className !== "palette" && (
            <Heading slot="title" level={2}>
              {title}
            </Heading>
          )}
          {children}
        </AriaDialog>
      </Modal>
    </ModalOverlay>
  );
}

interface FormProps {
  title: string;
  close: () => void;
  act: () => Promise<unknown>;
  verb: string;
  danger?: boolean;
  /** why it cannot be sent yet */
  refused?: string | null;
  children: ReactNode;
}

/** Fields, and one action with them; stays open with what was said if it is refused. */
export function FormDialog({ title, close, act, verb, danger = false, refused = null, children }: FormProps) {
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState("");
  const submit = async () => {
    setBusy(true);
    setSaid("");
    try {
      await act();
      close();
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} open close={close}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (refused === null && !busy) void submit();
        }}
      >
        {children}
        {said && (
          <p className="message bad" role="alert">
            {said}
          </p>
        )}
        <div className="actions">
          <Button onClick={close}>Cancel</Button>
          <Button type="submit" look={danger ? "danger" : "primary"} refused={refused ?? (busy ? "It is being carried out." : null)}>
            {busy ? "Working …" : verb}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

interface ReasonProps extends Omit<FormProps, "act" | "refused" | "children"> {
  act: (why: string) => Promise<unknown>;
  /** where the reason will stand */
  why?: string;
  children?: ReactNode;
}

/** A form that also asks for a reason. */
export function ReasonDialog({ act, why: hint = "It stands in the audit beside your name.", children, ...form }: ReasonProps) {
  const [why, setWhy] = useState("");
  return (
    <FormDialog {...form} act={() => act(why.trim())} refused={why.trim() ? null : "Write a reason first."}>
      {children}
      <Field name="Reason" hint={hint}>
        {(id) => <textarea id={id} className="input" rows={3} maxLength={500} required value={why} onChange={(event) => setWhy(event.target.value)} autoFocus />}
      </Field>
    </FormDialog>
  );
}
