import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { get } from "../../api/client";
import { useMay } from "../../api/session";
import { Answer, Button, Empty, Panel, Scroll, Tag, Time } from "../../parts/basic";
import { moment, percent, whole } from "../../parts/format";
import { go, Link, useParam } from "../../shell/router";
import { BeginCase, CaseOf, decisionsPath, type Entity, KIND_NAMES, KINDS, type Kind, keyOf, linksPath } from "./entity";
import { Picture } from "./picture";

export interface LinkedNode extends Entity {
  step: number;
  payments: number;
  declined: number;
  fraud: number;
  genuine: number;
  first: string | null;
  last: string | null;
}

/** Between a card and something else. `rarity`: of all payments of the two, the share that they have in common. */
export interface EntityLink {
  kind: Kind;
  card: string;
  id: string;
  payments: number;
  fraud: number;
  rarity: number;
  first: string;
  last: string;
}

interface Answered extends Entity {
  tenant: string;
  nodes: LinkedNode[];
  links: EntityLink[];
  left_out: number;
  not_followed: Entity[];
}

/** a total is counted up to this and one more */
const HUB = 500;
const OTHERS = KINDS.filter((kind) => kind !== "card");
const MAX_IN_CASE = 50;
export const endsOf = (link: EntityLink): [string, string] => [keyOf({ kind: "card", id: link.card }), keyOf(link)];

/** What an entity shares with others, up to two steps away: as a picture, and the same as a table. */
export function Links() {
  const [kind] = useParam("kind", "card");
  const [id] = useParam("id");
  const [tenant] = useParam("tenant", "default");
  const found = useQuery({
    queryKey: ["links", tenant, kind, id],
    queryFn: ({ signal }) => get<Answered>("/links", { kind, id, tenant }, signal),
    enabled: id !== "",
    staleTime: 60_000,
  });
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Search key={`${kind}/${id}`} kind={kind as Kind} id={id} tenant={tenant} />
        {id === "" ? (
          <Empty title="Which entity?">Name a card, a device, an address, a merchant or a customer, or come from a payment.</Empty>
        ) : (
          <Answer of={found} what="links">
            {(data) => (data.nodes.length <= 1 ? <Empty title="Nothing is linked with it">The console keeps payments that were not approved, for 30 days; none of them has this {KIND_NAMES[data.kind]} with anything else.</Empty> : <Around key={keyOf(data)} of={data} />)}
          </Answer>
        )}
      </div>
    </main>
  );
}

function Search({ kind: of, id: name, tenant }: { kind: Kind; id: string; tenant: string }) {
  const [kind, setKind] = useState(of);
  const [id, setId] = useState(name);
  return (
    <form
      className="row wrap"
      onSubmit={(event) => {
        event.preventDefault();
        if (id.trim()) go(linksPath({ kind, id: id.trim() }, tenant));
      }}
    >
      <select className="input" aria-label="Kind" value={kind} onChange={(event) => setKind(event.target.value as Kind)}>
        {KINDS.map((one) => (
          <option key={one} value={one}>
            {KIND_NAMES[one]}
          </option>
        ))}
      </select>
      <input className="input" size={28} aria-label="Identifier" placeholder="Identifier" maxLength={64} value={id} onChange={(event) => setId(event.target.value)} />
      <Button type="submit">Show its links</Button>
      {name !== "" && <CaseOf entity={{ kind: of, id: name }} tenant={tenant} />}
    </form>
  );
}

const RARITIES: [string, string][] = [
  ["0", "any"],
  ["0.02", "2 %"],
  ["0.1", "10 %"],
  ["0.3", "30 %"],
];

function Around({ of }: { of: Answered }) {
  const may = useMay("label");
  const [hidden, setHidden] = useParam("hide");
  const [rarity, setRarity] = useParam("rarity", "0");
  const [until, setUntil] = useState<number | null>(null);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [chosen, setChosen] = useState<string | null>(null);
  const [opening, setOpening] = useState(false);
  const start = keyOf(of);
  const without = useMemo(() => new Set(hidden.split(",").filter(Boolean)), [hidden]);
  const times = of.links.map((link) => Date.parse(link.first));
  const [begin, end] = [Math.min(...times), Math.max(...times)];
  const shown = useMemo(() => {
    const links = of.links.filter((link) => !without.has(link.kind) && link.rarity >= Number(rarity) && (until === null || Date.parse(link.first) <= until));
    return { links, nodes: reached(of.nodes, links, start) };
  }, [of, without, rarity, until, start]);
  const toggle = (key: string) => {
    const next = new Set(picked);
    if (!next.delete(key)) next.add(key);
    setPicked(next);
  };
  const about: Entity[] = [of, ...shown.nodes.filter((node) => picked.has(keyOf(node)) && keyOf(node) !== start)].map(({ kind, id }) => ({ kind, id }));
  const refused = !may.may ? may.why : picked.size === 0 ? "Select entities first." : about.length > MAX_IN_CASE ? `A case has at most ${MAX_IN_CASE}.` : null;
  return (
    <>
      <div className="row wrap sliders">
        <fieldset className="row wrap">
          <legend className="hidden-text">Kinds of links</legend>
          {OTHERS.filter((kind) => of.links.some((link) => link.kind === kind)).map((kind) => (
            <label key={kind} className="row small">
              <input
                type="checkbox"
                checked={!without.has(kind)}
                onChange={() => {
                  const next = new Set(without);
                  if (!next.delete(kind)) next.add(kind);
                  setHidden([...next].join(","));
                }}
              />
              {KIND_NAMES[kind]}
            </label>
          ))}
        </fieldset>
        <label className="row small soft" title="Of all payments of the two ends, the share that they have in common. High: they occur only together.">
          Rarity from
          <select className="input" value={rarity} onChange={(event) => setRarity(event.target.value)}>
            {RARITIES.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </label>
        {end > begin && (
          <label className="row small soft grow">
            As it was
            <input
              type="range"
              className="grow"
              min={begin}
              max={end}
              step={(end - begin) / 200}
              value={until ?? end}
              aria-valuetext={until === null ? "now" : moment(new Date(until), new Date())}
              onChange={(event) => setUntil(Number(event.target.value) >= end - 1 ? null : Number(event.target.value))}
            />
            <output className="nowrap">{until === null ? "now" : moment(new Date(until), new Date())}</output>
          </label>
        )}
      </div>
      <div className="grid">
        <Panel className="span-5" title="Links" aside={<span className="quiet small">{counted(shown.nodes.length - 1, "entity", "entities")} over payments that were not approved</span>} bare>
          <Picture nodes={shown.nodes} links={shown.links} start={start} chosen={chosen} choose={setChosen} picked={picked} />
          <div className="body quiet small">
            {of.left_out > 0 && <p>{whole(of.left_out)} more are not shown: those linked through fewest payments.</p>}
            {of.not_followed.length > 0 && (
              <p className="break">
                Not followed, because everybody uses them (more than {HUB} payments): {of.not_followed.map(({ kind, id }) => `${KIND_NAMES[kind]} ${id}`).join(", ")}.
              </p>
            )}
          </div>
        </Panel>
        <Panel
          className="span-7"
          title="The same as a table"
          aside={
            <Button refused={refused} onClick={() => setOpening(true)}>
              Open {picked.size > 0 ? about.length : ""} as a case …
            </Button>
          }
          bare
        >
          <Table nodes={shown.nodes} links={shown.links} of={of} start={start} chosen={chosen} choose={setChosen} picked={picked} toggle={toggle} />
        </Panel>
      </div>
      {opening && <BeginCase tenant={of.tenant} entities={about} close={() => setOpening(false)} />}
    </>
  );
}

const counted = (count: number, one: string, many: string): string => `${whole(count)} ${count === 1 ? one : many}`;

/** The entities that the links lead to from the start. */
function reached(nodes: LinkedNode[], links: EntityLink[], start: string): LinkedNode[] {
  const beside = new Map<string, string[]>();
  for (const link of links) {
    const [card, other] = endsOf(link);
    beside.set(card, [...(beside.get(card) ?? []), other]);
    beside.set(other, [...(beside.get(other) ?? []), card]);
  }
  const found = new Set([start]);
  for (let step = 0; step < 2; step++) for (const key of [...found]) for (const other of beside.get(key) ?? []) found.add(other);
  return nodes.filter((node) => found.has(keyOf(node)));
}

interface TableProps {
  nodes: LinkedNode[];
  links: EntityLink[];
  of: Answered;
  start: string;
  chosen: string | null;
  choose: (key: string | null) => void;
  picked: ReadonlySet<string>;
  toggle: (key: string) => void;
}

function Table({ nodes, links, of, start, chosen, choose, picked, toggle }: TableProps) {
  const rows = useMemo(() => {
    const strongest = new Map<string, EntityLink[]>();
    for (const link of links) for (const key of endsOf(link)) strongest.set(key, [...(strongest.get(key) ?? []), link]);
    return nodes
      .filter((node) => keyOf(node) !== start)
      .map((node) => ({ node, key: keyOf(node), links: (strongest.get(keyOf(node)) ?? []).sort((a, b) => b.rarity - a.rarity) }))
      .sort((a, b) => a.node.step - b.node.step || (b.links[0]?.rarity ?? 0) - (a.links[0]?.rarity ?? 0));
  }, [nodes, links, start]);
  return (
    <Scroll tall>
      <table>
        <thead>
          <tr>
            <th>
              <span className="hidden-text">Selected</span>
            </th>
            <th>Entity</th>
            <th className="number">Steps</th>
            <th>Shares most with</th>
            <th className="number">Rarity</th>
            <th className="number">Payments</th>
            <th className="number">Declined</th>
            <th className="number">Fraud</th>
            <th>Last</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ node, key, links: own }) => {
            const top = own[0];
            const other = top && (node.kind === "card" ? `${KIND_NAMES[top.kind]} ${top.id}` : top.card);
            return (
              <tr key={key} className="link" aria-selected={key === chosen || undefined} onMouseEnter={() => choose(key)} onMouseLeave={() => choose(null)} onFocus={() => choose(key)}>
                <td>
                  <input type="checkbox" aria-label={`Select ${KIND_NAMES[node.kind]} ${node.id}`} checked={picked.has(key)} onChange={() => toggle(key)} />
                </td>
                <th className="entity">
                  <span className="soft">{KIND_NAMES[node.kind]}</span> <Link href={linksPath(node, of.tenant)}>{node.id}</Link>
                </th>
                <td className="number">{node.step}</td>
                <td className="soft break">
                  {other}
                  {own.length > 1 && ` and ${own.length - 1} more`}
                </td>
                <td className="number">{top ? percent(top.rarity, 0) : "–"}</td>
                <td className="number">
                  <Link href={decisionsPath(node, of.tenant)}>{node.payments > HUB ? `over ${HUB}` : whole(node.payments)}</Link>
                </td>
                <td className="number">{whole(node.declined)}</td>
                <td className="number">{node.fraud > 0 ? <Tag tone="bad">{whole(node.fraud)}</Tag> : "0"}</td>
                <td>
                  <Time at={node.last} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}
