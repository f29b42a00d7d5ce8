import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, post, remove } from "../../api/client";
import { useMay } from "../../api/session";
import { Answer, Button, Empty, Panel, Scroll, Tag, Time } from "../../parts/basic";
import { say, sayError } from "../../parts/toasts";
import { AddDialog, Once } from "./adding";
import { ROLES } from "./people";

const KEY_ROLES = ["service", ...ROLES];

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

export function Keys() {
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
