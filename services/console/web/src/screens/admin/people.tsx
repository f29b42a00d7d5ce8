import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, post } from "../../api/client";
import { useMay, useSession } from "../../api/session";
import { Button, Panel, Tag, Time } from "../../parts/basic";
import { Listed } from "../../parts/table";
import { attempt } from "../../parts/toasts";
import { AddDialog, Once, RevokeDialog } from "./adding";
import { Roles, useRoles } from "./roles";

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

const signsIn = ({ role, password }: Person) => (role === "service" ? "a part of the stack" : password ? "with a password" : "no password yet");

export function People() {
  const people = useQuery({ queryKey: ["people"], queryFn: ({ signal }) => get<Person[]>("/people", {}, signal) });
  const roles = useRoles();
  const may = useMay("access");
  const session = useSession();
  const queries = useQueryClient();
  const [adding, setAdding] = useState(false);
  const [revoking, setRevoking] = useState<string | null>(null);
  const [link, setLink] = useState<{ name: string; link: string } | null>(null);
  const again = () => queries.invalidateQueries({ queryKey: ["people"] });
  const refused = may.may ? null : may.why;
  return (
    <>
      <Panel
        title="People"
        aside={
          <Button refused={refused} onClick={() => setAdding(true)}>
            Add a person …
          </Button>
        }
        bare
      >
        <Listed
          of={people}
          what="people"
          rows={(found) => found}
          empty={null}
          keyOf={(person) => person.name}
          columns={[
            { name: "Name", look: "break", heads: true, cell: (person) => person.name },
            { name: "Role", cell: (person) => person.role },
            { name: "State", cell: (person) => (person.active ? "active" : <Tag>revoked</Tag>) },
            { name: "Signs in", look: "soft", cell: signsIn },
            { name: "Tenants", cell: (person) => person.tenants.join(", ") || "all" },
            {
              name: "Added",
              cell: (person) => (
                <>
                  <Time at={person.added_at} /> <span className="quiet">{person.added_by && `by ${person.added_by}`}</span>
                </>
              ),
            },
            {
              name: "Act",
              cell: (person) =>
                person.active &&
                person.role !== "service" && (
                  <div className="row">
                    <Button look="plain" refused={refused} onClick={() => attempt(async () => setLink({ name: person.name, ...(await post<{ link: string }>(`/people/${part(person.name)}/link`)) }))}>
                      Sign-in link
                    </Button>
                    <Button look="plain" refused={refused ?? (person.name === session.person ? "Not yourself." : null)} onClick={() => setRevoking(person.name)}>
                      Revoke …
                    </Button>
                  </div>
                ),
            },
          ]}
        />
      </Panel>
      <Roles />
      {adding && (
        <AddDialog
          title="Add a person"
          roles={roles.filter((role) => role !== "service")}
          close={() => setAdding(false)}
          act={async ({ name, role, tenant }) => {
            const made = await post<{ link: string }>("/people", { name, role, tenants: tenant ? [tenant] : [] });
            await again();
            setLink({ name, link: made.link });
          }}
        />
      )}
      {revoking && (
        <RevokeDialog what={revoking} path={`/people/${part(revoking)}`} close={() => setRevoking(null)} done={again}>
          {revoking} is signed out at once, and what they signed stays. Who is added again needs a new password.
        </RevokeDialog>
      )}
      {link && (
        <Once title={`Link for ${link.name}`} text={link.link} close={() => setLink(null)}>
          With it {link.name} chooses a password. It works once; send it by a way that only {link.name} reads.
        </Once>
      )}
    </>
  );
}
