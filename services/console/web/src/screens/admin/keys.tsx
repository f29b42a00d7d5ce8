import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, post } from "../../api/client";
import { useMay } from "../../api/session";
import { Button, Empty, Panel, Tag, Time } from "../../parts/basic";
import { Listed } from "../../parts/table";
import { AddDialog, Once, RevokeDialog } from "./adding";
import { useRoles } from "./roles";

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
  const roles = useRoles();
  const may = useMay("access");
  const queries = useQueryClient();
  const [adding, setAdding] = useState(false);
  const [revoking, setRevoking] = useState<Key | null>(null);
  const [shown, setShown] = useState<string | null>(null);
  const again = () => queries.invalidateQueries({ queryKey: ["keys"] });
  const refused = may.may ? null : may.why;
  return (
    <>
      <Panel
        title="API keys of the HTTP edge"
        aside={
          <Button refused={refused} onClick={() => setAdding(true)}>
            Make a key …
          </Button>
        }
        bare
      >
        <Listed
          of={keys}
          what="API keys"
          rows={(found) => found}
          empty={<Empty title="No API key was made">They are needed where settings say that access is required.</Empty>}
          keyOf={(key) => key.id}
          columns={[
            { name: "Key", look: "mono", cell: (key) => key.id },
            { name: "Name", look: "break", heads: true, cell: (key) => key.name },
            { name: "Role", cell: (key) => key.role },
            { name: "Tenant", cell: (key) => key.tenant },
            { name: "Made", cell: (key) => <Time at={key.created_at} /> },
            { name: "Expires", cell: (key) => <Time at={key.expires_at} /> },
            { name: "Last used", cell: (key) => <Time at={key.last_use} /> },
            {
              name: "Act",
              cell: (key) =>
                key.state === "active" ? (
                  <Button look="plain" refused={refused} onClick={() => setRevoking(key)}>
                    Revoke …
                  </Button>
                ) : (
                  <Tag>{key.state}</Tag>
                ),
            },
          ]}
        />
      </Panel>
      {adding && (
        <AddDialog
          title="Make an API key"
          roles={roles}
          needsTenant
          close={() => setAdding(false)}
          act={async ({ name, role, tenant }) => {
            const made = await post<{ key: string }>("/keys", { name, role, tenant, days: null });
            await again();
            setShown(made.key);
          }}
        />
      )}
      {revoking && (
        <RevokeDialog what={revoking.name} path={`/keys/${part(revoking.id)}`} close={() => setRevoking(null)} done={again}>
          Requests with key {revoking.id} are refused from now on; it cannot be taken back.
        </RevokeDialog>
      )}
      {shown && (
        <Once title="The key" text={shown} close={() => setShown(null)}>
          Only its hash is stored: it cannot be shown again.
        </Once>
      )}
    </>
  );
}
