import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { get } from "../../api/client";
import { useMay } from "../../api/session";
import { Answer, Button, Empty, Panel, Screen } from "../../parts/basic";
import { moment, whole } from "../../parts/format";
import { toggled } from "../../parts/table";
import { go, useParam } from "../../shell/router";
import { BeginCase, CaseOf, type Entity, KIND_NAMES, KINDS, type Kind, keyOf, linksPath, named } from "./entity";
import { HUB, type Linked, reached } from "./linked";
import { LinksTable } from "./links_table";
import { Picture } from "./picture";

const OTHERS = KINDS.filter((kind) => kind !== "card");
const MAX_IN_CASE = 50;

/** What an entity shares with others, up to two steps away: as a picture, and the same as a table. */
export function Links() {
  const [kind] = useParam("kind", "card");
  const [id] = useParam("id");
  const [tenant] = useParam("tenant", "default");
  const found = useQuery({
    queryKey: ["links", tenant, kind, id],
    queryFn: ({ signal }) => get<Linked>("/links", { kind, id, tenant }, signal),
    enabled: id !== "",
    staleTime: 60_000,
  });
  return (
    <Screen>
      <Search key={`${kind}/${id}`} kind={kind as Kind} id={id} tenant={tenant} />
      {id === "" ? (
        <Empty title="Which entity?">Name a card, a device, an address, a merchant or a customer, or come from a payment.</Empty>
      ) : (
        <Answer of={found} what="links">
          {(data) => (data.nodes.length <= 1 ? <Empty title="Nothing is linked with it">The console keeps payments that were not approved, for 30 days; none of them has this {KIND_NAMES[data.kind]} with anything else.</Empty> : <Around key={keyOf(data)} of={data} />)}
        </Answer>
      )}
    </Screen>
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

function Around({ of }: { of: Linked }) {
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
                onChange={() => setHidden([...toggled(without, kind)].join(","))}
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
                Not followed, because everybody uses them (more than {HUB} payments): {named(of.not_followed, of.not_followed.length)}.
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
          <LinksTable nodes={shown.nodes} links={shown.links} tenant={of.tenant} start={start} chosen={chosen} choose={setChosen} picked={picked} set={setPicked} />
        </Panel>
      </div>
      {opening && <BeginCase tenant={of.tenant} entities={about} close={() => setOpening(false)} />}
    </>
  );
}

const counted = (count: number, one: string, many: string): string => `${whole(count)} ${count === 1 ? one : many}`;
