import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get } from "../../api/client";
import { useMay } from "../../api/session";
import { Answer, Button, Empty, Field, Panel, Screen, Segments, Tag, Time } from "../../parts/basic";
import { FormDialog } from "../../parts/dialog";
import { Table } from "../../parts/table";
import { Link, useParam } from "../../shell/router";
import { BeginCase, type CaseHead, type Entity, KIND_NAMES, KINDS, type Kind, named } from "./entity";

export function CaseState({ of }: { of: CaseHead }) {
  if (of.state === "closed") return <Tag tone={of.outcome === "fraud" ? "bad" : of.outcome === "genuine" ? "good" : ""}>closed: {of.outcome ?? "unclear"}</Tag>;
  return <Tag tone={of.state === "escalated" ? "warn" : "accent"}>{of.state}</Tag>;
}

/** All cases that a person sees, the one that changed last first. */
export function Cases() {
  const may = useMay("label");
  const [view, setView] = useParam("view", "open");
  const [naming, setNaming] = useState(false);
  const [about, setAbout] = useState<{ entity: Entity; tenant: string } | null>(null);
  const found = useQuery({
    queryKey: ["cases", view],
    queryFn: ({ signal }) => get<{ rows: CaseHead[] }>("/cases", { mine: view === "mine", closed: view === "all", limit: 500 }, signal),
    refetchInterval: 30_000,
  });
  return (
    <Screen>
      <div className="row wrap apart">
        <Segments name="Which cases" value={view} options={[["open", "Open"], ["mine", "Mine"], ["all", "Closed too"]] as const} change={setView} />
        <Button refused={may.may ? null : may.why} onClick={() => setNaming(true)}>
          Open a case …
        </Button>
      </div>
      <Answer of={found} what="cases">
        {({ rows }) =>
          rows.length === 0 ? (
            <Empty title={view === "mine" ? "You have no open case" : "No case is open"}>A case is opened from a payment, from its links, or here.</Empty>
          ) : (
            <Panel title={rows.length === 1 ? "1 case" : `${rows.length} cases`} aside={<span className="quiet small">changed last first</span>} bare>
              <Table
                rows={rows}
                keyOf={(one) => one.case}
                link
                columns={[
                  { name: "Case", look: "number", cell: (one) => one.case },
                  {
                    name: "Title",
                    look: "break",
                    heads: true,
                    cell: (one) => (
                      <>
                        <Link href={`/cases/${one.case}`}>{one.title}</Link> {one.tenant !== "default" && <Tag>{one.tenant}</Tag>}
                      </>
                    ),
                  },
                  { name: "State", cell: (one) => <CaseState of={one} /> },
                  { name: "About", look: "soft break", cell: (one) => named(one.entities, 3) },
                  { name: "With", look: "break", cell: (one) => one.assignee ?? "nobody" },
                  { name: "Changed", cell: (one) => <Time at={one.changed_at} /> },
                  {
                    name: "Opened",
                    cell: (one) => (
                      <>
                        <Time at={one.opened_at} /> <span className="quiet">by {one.opened_by}</span>
                      </>
                    ),
                  },
                ]}
              />
            </Panel>
          )
        }
      </Answer>
      {naming && (
        <NameEntity
          close={() => setNaming(false)}
          done={(entity, tenant) => {
            setNaming(false);
            setAbout({ entity, tenant });
          }}
        />
      )}
      {about && <BeginCase tenant={about.tenant} entities={[about.entity]} close={() => setAbout(null)} />}
    </Screen>
  );
}

/** Asks which entity is meant. */
export function NameEntity({ close, done, fixed }: { close: () => void; done: (entity: Entity, tenant: string) => void; fixed?: string }) {
  const [kind, setKind] = useState<Kind>("card");
  const [id, setId] = useState("");
  const [tenant, setTenant] = useState("default");
  return (
    <FormDialog title="Which entity?" verb="Go on" close={close} act={async () => done({ kind, id: id.trim() }, fixed ?? tenant.trim())} refused={id.trim() ? null : "Name it first."}>
      <Field name="Kind">
        {(field) => (
          <select id={field} className="input" value={kind} onChange={(event) => setKind(event.target.value as Kind)}>
            {KINDS.map((one) => (
              <option key={one} value={one}>
                {KIND_NAMES[one]}
              </option>
            ))}
          </select>
        )}
      </Field>
      <Field name="Identifier">{(field) => <input id={field} className="input" required maxLength={64} autoFocus value={id} onChange={(event) => setId(event.target.value)} />}</Field>
      {fixed === undefined && <Field name="Tenant">{(field) => <input id={field} className="input" required maxLength={64} value={tenant} onChange={(event) => setTenant(event.target.value)} />}</Field>}
    </FormDialog>
  );
}
