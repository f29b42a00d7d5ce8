import { useMemo } from "react";
import { Tag, Time } from "../../parts/basic";
import { percent, whole } from "../../parts/format";
import { picking, Table } from "../../parts/table";
import { Link } from "../../shell/router";
import { decisionsPath, KIND_NAMES, keyOf, linksPath } from "./entity";
import { type EntityLink, endsOf, HUB, type LinkedNode } from "./linked";

interface TableProps {
  nodes: LinkedNode[];
  links: EntityLink[];
  tenant: string;
  start: string;
  chosen: string | null;
  choose: (key: string | null) => void;
  picked: ReadonlySet<string>;
  set: (picked: ReadonlySet<string>) => void;
}

interface Row extends LinkedNode {
  key: string;
  /** the most telling first */
  links: EntityLink[];
}

/** What an entity shares its most telling link with. */
function sharedWith({ kind, links }: Row): string {
  const top = links[0];
  if (top === undefined) return "";
  return (kind === "card" ? `${KIND_NAMES[top.kind]} ${top.id}` : top.card) + (links.length > 1 ? ` and ${links.length - 1} more` : "");
}

export function LinksTable({ nodes, links, tenant, start, chosen, choose, picked, set }: TableProps) {
  const rows = useMemo<Row[]>(() => {
    const strongest = new Map<string, EntityLink[]>();
    for (const link of links) for (const key of endsOf(link)) strongest.set(key, [...(strongest.get(key) ?? []), link]);
    return nodes
      .map((node) => ({ ...node, key: keyOf(node), links: (strongest.get(keyOf(node)) ?? []).sort((a, b) => b.rarity - a.rarity) }))
      .filter((row) => row.key !== start)
      .sort((a, b) => a.step - b.step || (b.links[0]?.rarity ?? 0) - (a.links[0]?.rarity ?? 0));
  }, [nodes, links, start]);
  return (
    <Table
      rows={rows}
      keyOf={(row) => row.key}
      link
      tall
      selected={(row) => row.key === chosen}
      point={(row) => choose(row?.key ?? null)}
      columns={[
        picking<Row>(picked, set, (row) => row.key, (row) => `${KIND_NAMES[row.kind]} ${row.id}`),
        {
          name: "Entity",
          look: "entity",
          heads: true,
          cell: (row) => (
            <>
              <span className="soft">{KIND_NAMES[row.kind]}</span> <Link href={linksPath(row, tenant)}>{row.id}</Link>
            </>
          ),
        },
        { name: "Steps", look: "number", cell: (row) => row.step },
        { name: "Shares most with", look: "soft break", cell: sharedWith },
        { name: "Rarity", look: "number", cell: ({ links: [top] }) => (top ? percent(top.rarity, 0) : "–") },
        { name: "Payments", look: "number", cell: (row) => <Link href={decisionsPath(row, tenant)}>{row.payments > HUB ? `over ${HUB}` : whole(row.payments)}</Link> },
        { name: "Declined", look: "number", cell: (row) => whole(row.declined) },
        { name: "Fraud", look: "number", cell: (row) => (row.fraud > 0 ? <Tag tone="bad">{whole(row.fraud)}</Tag> : "0") },
        { name: "Last", cell: (row) => <Time at={row.last} /> },
      ]}
    />
  );
}
