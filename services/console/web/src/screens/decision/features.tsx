import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { get, part } from "../../api/client";
import type { DecisionWhole, FeatureInfo } from "../../api/types";
import { Button, Empty, Panel } from "../../parts/basic";
import { money, number, percent, whole as count } from "../../parts/format";
import { type Column, Table } from "../../parts/table";
import type { Of } from "./decision";

interface Beside {
  /** rows of the live model's reference, and earlier payments of the card */
  peers: number;
  past: number;
  /** by feature: the share of the reference that is lower; lowest, middle and highest of the card before */
  features: Record<string, { peers: number | null; past: [number, number, number] | null }>;
}

interface Row {
  name: string;
  value: number | null;
  feature: FeatureInfo | undefined;
  peers: number | null;
  past: [number, number, number] | null;
}

/** A feature's unit; of minor units also the money that they are. What was paid before may have been in other currencies. */
function unit({ feature, value }: Row, currency: unknown): string {
  if (feature?.unit !== "minor units" || value === null || typeof currency !== "string") return feature?.unit ?? "";
  return `minor units: ${money(value, currency)}${feature.entity === "transaction" ? "" : ` if all was ${currency}`}`;
}

/** How far from the middle of all payments, 0 to 0.5; what nobody else has comes last. */
const unusual = ({ peers }: Row): number => (peers === null ? -1 : Math.abs(peers - 0.5));

function Peers({ of: share }: { of: number | null }) {
  if (share === null) return <span className="quiet">–</span>;
  const tail = Math.min(share, 1 - share);
  return <span className={tail < 0.025 ? "strong" : "soft"}>{share >= 0.5 ? `above ${percent(share, 0)}` : `below ${percent(1 - share, 0)}`}</span>;
}

const columnsOf = (currency: unknown): Column<Row>[] => [
  { name: "Feature", look: "mono break", heads: true, cell: ({ name }) => name },
  { name: "Of", look: "soft", cell: ({ feature }) => feature?.entity ?? "" },
  { name: "Value", look: "number", cell: ({ value }) => (value === null ? <span className="quiet">unknown</span> : number(value, 7)) },
  { name: "Peers", look: "number", cell: ({ peers }) => <Peers of={peers} /> },
  { name: "The card before", look: "number soft", cell: ({ past }) => (past === null ? "–" : `${number(past[1], 4)} (${number(past[0], 4)} to ${number(past[2], 4)})`) },
  { name: "Unit", look: "soft nowrap", cell: (row) => unit(row, currency) },
  { name: "What it is", look: "soft", cell: ({ feature }) => feature?.description ?? "" },
];

function useRows(values: DecisionWhole["features"], beside: Beside | undefined, text: string, sorted: boolean): Row[] {
  const info = useQuery({ queryKey: ["features"], queryFn: ({ signal }) => get<FeatureInfo[]>("/features", {}, signal), staleTime: Number.POSITIVE_INFINITY });
  return useMemo(() => {
    const known = new Map(info.data?.map((feature) => [feature.name, feature]));
    const wanted = text.toLowerCase();
    const rows = Object.entries(values ?? {})
      .map(([name, value]) => ({ name, value, feature: known.get(name), peers: null, past: null, ...beside?.features[name] }))
      .filter(({ name, feature }) => !wanted || `${name} ${feature?.description ?? ""} ${feature?.entity ?? ""}`.toLowerCase().includes(wanted));
    return sorted ? rows.sort((a, b) => unusual(b) - unusual(a)) : rows;
  }, [values, info.data, beside, text, sorted]);
}

/** Features as they were served, each beside the same of all payments and of the card's earlier ones. */
export function Features({ whole, id, tenant }: Of) {
  const [text, setText] = useState("");
  const [sorted, setSorted] = useState(false);
  const values = whole.features;
  const beside = useQuery({ queryKey: ["beside", tenant, id], queryFn: ({ signal }) => get<Beside>(`/decisions/${part(id)}/beside`, { tenant }, signal), enabled: values !== null, staleTime: Number.POSITIVE_INFINITY, retry: false });
  const rows = useRows(values, beside.data, text, sorted);
  if (values === null) {
    return (
      <Panel className="span-12" title="Features">
        <p className="soft">Neither the log nor the archive holds them.</p>
      </Panel>
    );
  }
  const all = Object.values(values);
  const unknown = all.filter((value) => value === null).length;
  return (
    <Panel
      className="span-12"
      title="Features as served"
      aside={
        <div className="row wrap">
          <span className="quiet small">
            {all.length} values, {percent(unknown / Math.max(1, all.length), 0)} unknown
            {beside.data && `; beside ${count(beside.data.peers)} payments that the live model knows and ${count(beside.data.past)} earlier ones of the card`}
            {beside.isError && "; peers and past cannot be said"}
          </span>
          <Button aria-pressed={sorted} refused={beside.data ? null : "Peers are not known yet."} onClick={() => setSorted(!sorted)}>
            {sorted ? "As in the catalogue" : "Most unusual first"}
          </Button>
          <input className="input" aria-label="Search features" placeholder="Search features" value={text} onChange={(event) => setText(event.target.value)} />
        </div>
      }
      bare
    >
      {rows.length === 0 ? <Empty title="No feature fits" /> : <Table rows={rows} keyOf={({ name }) => name} columns={columnsOf(whole.transaction?.currency)} tall />}
    </Panel>
  );
}
