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

/** Asks for a reason and carries the action out; stays open with what was said if it is refused. */
export function ReasonDialog({
  title,
  open,
  close,
  act,
  verb,
  danger = false,
  children,
}: {
  title: string;
  open: boolean;
  close: () => void;
  act: (why: string) => Promise<unknown>;
  verb: string;
  danger?: boolean;
  children?: ReactNode;
}) {
  const [why, setWhy] = useState("");
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState("");
  const submit = async () => {
    setBusy(true);
    setSaid("");
    try {
      await act(why.trim());
      setWhy("");
      close();
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} open={open} close={close}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (why.trim() && !busy) void submit();
        }}
      >
        {children}
        <Field name="Reason" hint="It stands in the audit beside your name.">
          {(id) => <textarea id={id} className="input" rows={3} maxLength={500} required value={why} onChange={(event) => setWhy(event.target.value)} autoFocus />}
        </Field>
        {said && (
          <p className="message bad" role="alert">
            {said}
          </p>
        )}
        <div className="actions">
          <Button onClick={close}>Cancel</Button>
          <Button type="submit" look={danger ? "danger" : "primary"} refused={why.trim() ? (busy ? "It is being carried out." : null) : "Write a reason first."}>
            {busy ? "Working …" : verb}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
