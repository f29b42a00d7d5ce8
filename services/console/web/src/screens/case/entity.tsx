/** A card, a device, an address, a merchant or a customer: its name, its place, and the open case that has it. */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, post } from "../../api/client";
import { useMay } from "../../api/session";
import { Button, Field } from "../../parts/basic";
import { ReasonDialog } from "../../parts/dialog";
import { go, Link } from "../../shell/router";

export const KINDS = ["card", "device", "ip", "merchant", "customer"] as const;
export type Kind = (typeof KINDS)[number];
export const KIND_NAMES: Record<Kind, string> = { card: "card", device: "device", ip: "address", merchant: "merchant", customer: "customer" };
/** the field of a payment that names one, as lists and rules call it */
export const FIELDS: Record<Kind, string> = { card: "card_id", device: "device_id", ip: "ip", merchant: "merchant_id", customer: "customer_id" };

export interface Entity {
  kind: Kind;
  id: string;
}

export interface CaseHead {
  case: number;
  tenant: string;
  title: string;
  state: "open" | "escalated" | "closed";
  assignee: string | null;
  outcome: "fraud" | "genuine" | "unclear" | null;
  opened_by: string;
  opened_at: string;
  changed_at: string;
  entities: Entity[];
}

export const keyOf = ({ kind, id }: Entity): string => `${kind}/${id}`;
/** The first of some entities in words, and how many more there are. */
export const named = (entities: readonly Entity[], shown: number): string =>
  entities.slice(0, shown).map(({ kind, id }) => `${KIND_NAMES[kind]} ${id}`).join(", ") + (entities.length > shown ? ` and ${entities.length - shown} more` : "");
const ofTenant = (tenant: string): string => (tenant === "default" ? "" : `&tenant=${part(tenant)}`);
export const linksPath = ({ kind, id }: Entity, tenant: string): string => `/links?kind=${kind}&id=${part(id)}${ofTenant(tenant)}`;
export const decisionsPath = ({ kind, id }: Entity, tenant: string): string => `/decisions?${kind}=${part(id)}${ofTenant(tenant)}`;
export const listsPath = ({ kind, id }: Entity, number?: number): string => `/lists?field=${FIELDS[kind]}&value=${part(id)}${number === undefined ? "" : `&case=${number}`}`;

/** The open case of an entity, or a way to open one about it and `more`. */
export function CaseOf({ entity, tenant, more = [] }: { entity: Entity; tenant: string; more?: Entity[] }) {
  const may = useMay("label");
  const [opening, setOpening] = useState(false);
  const found = useQuery({
    queryKey: ["cases", "of", tenant, entity.kind, entity.id],
    queryFn: ({ signal }) => get<{ rows: CaseHead[] }>("/cases", { kind: entity.kind, id: entity.id, tenant }, signal),
  });
  const open = found.data?.rows[0];
  if (open) {
    return (
      <Link className="button" href={`/cases/${open.case}`}>
        Case {open.case}
      </Link>
    );
  }
  return (
    <>
      <Button refused={may.may ? null : may.why} onClick={() => setOpening(true)}>
        Open a case …
      </Button>
      {opening && <BeginCase tenant={tenant} entities={[entity, ...more]} close={() => setOpening(false)} />}
    </>
  );
}

export function BeginCase({ tenant, entities, close }: { tenant: string; entities: Entity[]; close: () => void }) {
  const [title, setTitle] = useState("");
  const first = entities[0];
  return (
    <ReasonDialog
      title="Open a case"
      verb="Open the case"
      why="It is the first entry of the case."
      close={close}
      act={async (why) => {
        const made = await post<{ case: number }>("/cases", { tenant, title: title.trim(), entities, why });
        go(`/cases/${made.case}`);
      }}
    >
      <p className="soft break">
        About {named(entities, 8)}. Payments that have any of these belong to it.
      </p>
      <Field name="Title" hint={first ? `Empty: ${KIND_NAMES[first.kind]} ${first.id}` : undefined}>
        {(id) => <input id={id} className="input" maxLength={120} value={title} onChange={(event) => setTitle(event.target.value)} />}
      </Field>
    </ReasonDialog>
  );
}
