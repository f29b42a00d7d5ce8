import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, post, remove } from "../../api/client";
import { useMay, useSession } from "../../api/session";
import { Answer, Button, Panel, Scroll, Tag, Time } from "../../parts/basic";
import { say, sayError } from "../../parts/toasts";
import { AddDialog, Once } from "./adding";

export const ROLES = ["analyst", "reviewer", "approver", "operator", "admin"];

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

export function People() {
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
