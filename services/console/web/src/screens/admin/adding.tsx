/** Adds and revokes a person or a key, and shows once what is shown once. */

import { type ReactNode, useState } from "react";
import { remove } from "../../api/client";
import { Button, Field } from "../../parts/basic";
import { Dialog, FormDialog } from "../../parts/dialog";
import { attempt, say } from "../../parts/toasts";

interface Adding {
  name: string;
  role: string;
  tenant: string;
}

export function AddDialog({ title, roles, needsTenant = false, close, act }: { title: string; roles: string[]; needsTenant?: boolean; close: () => void; act: (what: Adding) => Promise<void> }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("");
  const [tenant, setTenant] = useState(needsTenant ? "default" : "");
  return (
    <FormDialog title={title} verb="Add" close={close} act={() => act({ name: name.trim(), role: role || (roles[0] ?? ""), tenant: tenant.trim() })}>
      <Field name="Name">{(id) => <input id={id} className="input" required maxLength={64} autoFocus value={name} onChange={(event) => setName(event.target.value)} />}</Field>
      <Field name="Role">
        {(id) => (
          <select id={id} className="input" value={role || roles[0]} onChange={(event) => setRole(event.target.value)}>
            {roles.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        )}
      </Field>
      <Field name="Tenant" hint={needsTenant ? undefined : "Empty: all tenants."}>
        {(id) => <input id={id} className="input" required={needsTenant} maxLength={64} value={tenant} onChange={(event) => setTenant(event.target.value)} />}
      </Field>
    </FormDialog>
  );
}

/** Asks before `path` is removed: it cannot be taken back. */
export function RevokeDialog({ what, path, close, done, children }: { what: string; path: string; close: () => void; done: () => Promise<unknown>; children: ReactNode }) {
  const act = async () => {
    await remove(path);
    await done();
    say(`${what} is revoked.`);
  };
  return (
    <FormDialog title={`Revoke ${what}?`} verb="Revoke" danger close={close} act={act}>
      <p className="soft">{children}</p>
    </FormDialog>
  );
}

/** Something that is shown once. */
export function Once({ title, text, close, children }: { title: string; text: string; close: () => void; children: ReactNode }) {
  return (
    <Dialog title={title} open close={close}>
      <div className="stack">
        <p className="soft">{children}</p>
        <p className="message mono break">{text}</p>
        <div className="actions">
          <Button onClick={() => attempt(() => navigator.clipboard.writeText(text).then(() => say("Copied.")))}>Copy</Button>
          <Button look="primary" onClick={close}>
            Done
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
