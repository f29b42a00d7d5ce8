import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useState } from "react";
import { get, part, post, remove } from "../api/client";
import { useMay, useSession } from "../api/session";
import { Answer, Button, Empty, Field, Panel, Scroll, Segments, Tag, Time } from "../parts/basic";
import { Dialog } from "../parts/dialog";
import { Facts } from "../parts/facts";
import { whole, words } from "../parts/format";
import { say, sayError } from "../parts/toasts";
import { useParam } from "../shell/router";

const TABS = [
  ["people", "People"],
  ["keys", "API keys"],
  ["audit", "Audit"],
] as const;
const ROLES = ["analyst", "reviewer", "approver", "operator", "admin"];
const KEY_ROLES = ["service", ...ROLES];

export function Admin() {
  const [tab, setTab] = useParam("view", "people");
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Segments name="View" value={tab} options={TABS as unknown as [string, string][]} change={setTab} />
        {tab === "people" && <People />}
        {tab === "keys" && <Keys />}
        {tab === "audit" && <Audit />}
      </div>
    </main>
  );
}

interface Person {
  name: string;
  role: string;
  active: boolean;
  added_at: string | null;
  added_by: string | null;
  revoked_at: string | null;
  password: boolean;
  tenants: string[];
}

function People() {
  const people = useQuery({ queryKey: ["people"], queryFn: ({ signal }) => get<Person[]>("/people", {}, signal) });
  const may = useMay("access");
  const session = useSession();
  const queries = useQueryClient();
  const [adding, setAdding] = useState(false);
  const [link, setLink] = useState<{ name: string; link: string } | null>(null);
  const again = () => queries.invalidateQueries({ queryKey: ["people"] });
  const newLink = async (name: string) => {
    try {
      const made = await post<{ link: string }>(`/people/${part(name)}/link`);
      setLink({ name, link: made.link });
    } catch (error) {
      sayError(error);
    }
  };
  return (
    <>
      <Panel
        title="People"
        aside={
          <Button refused={may.may ? null : may.why} onClick={() => setAdding(true)}>
            Add a person …
          </Button>
        }
        bare
      >
        <Answer of={people} what="people">
          {(rows) => (
            <Scroll>
              <table>
                <thead>
                  <tr>
                    <th>Name</th>
                    <th>Role</th>
                    <th>State</th>
                    <th>Signs in</th>
                    <th>Tenants</th>
                    <th>Added</th>
                    <th>Act</th>
                  </tr>
                </thead>
                <tbody>
                  {rows.map((person) => (
                    <tr key={person.name}>
                      <th className="break">{person.name}</th>
                      <td>{person.role}</td>
                      <td>{person.active ? "active" : <Tag>revoked</Tag>}</td>
                      <td>{person.role === "service" ? <span className="quiet">a part of the stack</span> : person.password ? "with a password" : <span className="quiet">no password yet</span>}</td>
                      <td>{person.tenants.length ? person.tenants.join(", ") : "all"}</td>
                      <td>
                        <Time at={person.added_at} /> <span className="quiet">{person.added_by && `by ${person.added_by}`}</span>
                      </td>
                      <td>
                        {person.active && person.role !== "service" && (
                          <div className="row">
                            <Button look="plain" refused={may.may ? null : may.why} onClick={() => void newLink(person.name)}>
                              Sign-in link
                            </Button>
                            <Button
                              look="plain"
                              refused={!may.may ? may.why : person.name === session.person ? "Not yourself." : null}
                              onClick={() => void remove(`/people/${part(person.name)}`).then(again).then(() => say(`${person.name} is revoked.`), sayError)}
                            >
                              Revoke
                            </Button>
                          </div>
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
          )}
        </Answer>
      </Panel>
      {adding && (
        <AddDialog
          title="Add a person"
          roles={ROLES}
          close={() => setAdding(false)}
          act={async ({ name, role, tenant }) => {
            const made = await post<{ link: string }>("/people", { name, role, tenants: tenant ? [tenant] : [] });
            await again();
            setLink({ name, link: made.link });
          }}
        />
      )}
      {link && (
        <Once title={`Link for ${link.name}`} text={link.link} close={() => setLink(null)}>
          With it {link.name} chooses a password. It works once; send it by a way that only {link.name} reads.
        </Once>
      )}
    </>
  );
}

interface Key {
  id: string;
  name: string;
  role: string;
  tenant: string;
  state: "active" | "expired" | "revoked";
  created_at: string;
  created_by: string;
  expires_at: string | null;
  last_use: string | null;
}

function Keys() {
  const keys = useQuery({ queryKey: ["keys"], queryFn: ({ signal }) => get<Key[]>("/keys", {}, signal) });
  const may = useMay("access");
  const queries = useQueryClient();
  const [adding, setAdding] = useState(false);
  const [shown, setShown] = useState<string | null>(null);
  const again = () => queries.invalidateQueries({ queryKey: ["keys"] });
  return (
    <>
      <Panel
        title="API keys of the HTTP edge"
        aside={
          <Button refused={may.may ? null : may.why} onClick={() => setAdding(true)}>
            Make a key …
          </Button>
        }
        bare
      >
        <Answer of={keys} what="API keys">
          {(rows) =>
            rows.length === 0 ? (
              <Empty title="No API key was made">They are needed where settings say that access is required.</Empty>
            ) : (
              <Scroll>
                <table>
                  <thead>
                    <tr>
                      <th>Key</th>
                      <th>Name</th>
                      <th>Role</th>
                      <th>Tenant</th>
                      <th>Made</th>
                      <th>Expires</th>
                      <th>Last used</th>
                      <th>Act</th>
                    </tr>
                  </thead>
                  <tbody>
                    {rows.map((key) => (
                      <tr key={key.id}>
                        <td className="mono">{key.id}</td>
                        <th className="break">{key.name}</th>
                        <td>{key.role}</td>
                        <td>{key.tenant}</td>
                        <td>
                          <Time at={key.created_at} />
                        </td>
                        <td>
                          <Time at={key.expires_at} />
                        </td>
                        <td>
                          <Time at={key.last_use} />
                        </td>
                        <td>
                          {key.state !== "active" ? (
                            <Tag>{key.state}</Tag>
                          ) : (
                            <Button look="plain" refused={may.may ? null : may.why} onClick={() => void remove(`/keys/${part(key.id)}`).then(again).then(() => say(`${key.name} is revoked.`), sayError)}>
                              Revoke
                            </Button>
                          )}
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )
          }
        </Answer>
      </Panel>
      {adding && (
        <AddDialog
          title="Make an API key"
          roles={KEY_ROLES}
          needsTenant
          close={() => setAdding(false)}
          act={async ({ name, role, tenant }) => {
            const made = await post<{ key: string }>("/keys", { name, role, tenant, days: null });
            await again();
            setShown(made.key);
          }}
        />
      )}
      {shown && (
        <Once title="The key" text={shown} close={() => setShown(null)}>
          Only its hash is stored: it cannot be shown again.
        </Once>
      )}
    </>
  );
}

interface Adding {
  name: string;
  role: string;
  tenant: string;
}

function AddDialog({ title, roles, needsTenant = false, close, act }: { title: string; roles: string[]; needsTenant?: boolean; close: () => void; act: (what: Adding) => Promise<void> }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState(roles[0] ?? "");
  const [tenant, setTenant] = useState(needsTenant ? "default" : "");
  const [said, setSaid] = useState("");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    try {
      await act({ name: name.trim(), role, tenant: tenant.trim() });
      close();
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <Dialog title={title} open close={close}>
      <form className="stack" onSubmit={(event) => void submit(event)}>
        <Field name="Name">{(id) => <input id={id} className="input" required maxLength={64} autoFocus value={name} onChange={(event) => setName(event.target.value)} />}</Field>
        <Field name="Role">
          {(id) => (
            <select id={id} className="input" value={role} onChange={(event) => setRole(event.target.value)}>
              {roles.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          )}
        </Field>
        <Field name="Tenant" hint={needsTenant ? undefined : "Empty: all tenants."} wrong={said}>
          {(id) => <input id={id} className="input" required={needsTenant} maxLength={64} value={tenant} onChange={(event) => setTenant(event.target.value)} />}
        </Field>
        <div className="actions">
          <Button onClick={close}>Cancel</Button>
          <Button type="submit" look="primary">
            Add
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** Something that is shown once. */
function Once({ title, text, close, children }: { title: string; text: string; close: () => void; children: ReactNode }) {
  return (
    <Dialog title={title} open close={close}>
      <div className="stack">
        <p className="soft">{children}</p>
        <p className="message mono break">{text}</p>
        <div className="actions">
          <Button onClick={() => void navigator.clipboard.writeText(text).then(() => say("Copied."), sayError)}>Copy</Button>
          <Button look="primary" onClick={close}>
            Done
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

interface Entry {
  entry: number;
  at: string;
  action: string;
  result: "accepted" | "refused";
  model: string;
  version: string | null;
  by: string;
  signed_by: string;
  role: string;
  why: string;
  detail: Record<string, unknown>;
}

const nameOf = (detail: Record<string, unknown>): string => (typeof detail.name === "string" ? detail.name : "");

interface Verified {
  entries: number;
  ok: boolean;
  first_bad: number | null;
  faults?: { entry: number; why: string }[];
}

function Audit() {
  const audit = useQuery({ queryKey: ["audit"], queryFn: ({ signal }) => get<Entry[]>("/audit", { last: 100 }, signal) });
  const [verified, setVerified] = useState<Verified | null>(null);
  const [busy, setBusy] = useState(false);
  const verify = async () => {
    setBusy(true);
    try {
      setVerified(await post<Verified>("/audit/verify"));
    } catch (error) {
      sayError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      {verified && (
        <div className={`message ${verified.ok ? "good" : "bad"}`} role="status">
          {verified.ok ? `The chain of ${whole(verified.entries)} entries is whole.` : `The chain is broken at entry ${verified.first_bad ?? "?"}.`}
          {verified.faults && verified.faults.length > 0 && <Facts value={verified.faults} />}
        </div>
      )}
      <Panel
        title="Audit"
        aside={
          <Button refused={busy ? "It is being verified." : null} onClick={() => void verify()}>
            {busy ? "Verifying …" : "Verify the chain"}
          </Button>
        }
        bare
      >
        <Answer of={audit} what="the audit">
          {(rows) =>
            rows.length === 0 ? (
              <Empty title="The audit is empty" />
            ) : (
              <Scroll>
                <table>
                  <thead>
                    <tr>
                      <th className="number">No.</th>
                      <th>When</th>
                      <th>Who</th>
                      <th>What</th>
                      <th>Of</th>
                      <th>Why</th>
                    </tr>
                  </thead>
                  <tbody>
                    {[...rows].reverse().map((entry) => (
                      <tr key={entry.entry}>
                        <td className="number">{entry.entry}</td>
                        <td>
                          <Time at={entry.at} />
                        </td>
                        <th className="break">
                          {entry.signed_by || entry.by} <span className="quiet">{entry.role}</span>
                          {entry.signed_by && entry.by !== entry.signed_by && <span className="quiet"> for {entry.by}</span>}
                        </th>
                        <td>
                          {words(entry.action)} {entry.result === "refused" && <Tag tone="bad">refused</Tag>}
                        </td>
                        <td className="break">{[entry.model, entry.version].filter(Boolean).join(" ") || nameOf(entry.detail)}</td>
                        <td className="soft break">{entry.why}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )
          }
        </Answer>
      </Panel>
    </>
  );
}
