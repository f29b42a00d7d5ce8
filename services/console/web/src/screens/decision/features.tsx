import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { get } from "../../api/client";
import type { DecisionWhole, FeatureInfo } from "../../api/types";
import { Empty, Panel, Scroll } from "../../parts/basic";
import { money, number, percent } from "../../parts/format";

/** A feature's unit; of minor units also the money that they are. What was paid before may have been in other currencies. */
function unit(feature: FeatureInfo | undefined, value: number | null, currency: unknown): string {
  if (feature?.unit !== "minor units" || value === null || typeof currency !== "string") return feature?.unit ?? "";
  return `minor units: ${money(value, currency)}${feature.entity === "transaction" ? "" : ` if all was ${currency}`}`;
}

export function Features({ whole }: { whole: DecisionWhole }) {
  const [text, setText] = useState("");
  const info = useQuery({ queryKey: ["features"], queryFn: ({ signal }) => get<FeatureInfo[]>("/features", {}, signal), staleTime: Number.POSITIVE_INFINITY });
  const values = whole.features;
  const currency = whole.transaction?.currency;
  const rows = useMemo(() => {
    if (values === null) return [];
    const known = new Map(info.data?.map((feature) => [feature.name, feature]));
    const wanted = text.toLowerCase();
    return Object.entries(values)
      .map(([name, value]) => ({ name, value, feature: known.get(name) }))
      .filter(({ name, feature }) => !wanted || `${name} ${feature?.description ?? ""} ${feature?.entity ?? ""}`.toLowerCase().includes(wanted));
  }, [values, info.data, text]);
  if (values === null) {
    return (
      <Panel className="span-12" title="Features">
        <p className="soft">Neither the log nor the archive holds them.</p>
      </Panel>
    );
  }
  const unknown = Object.values(values).filter((value) => value === null).length;
  const all = Object.keys(values).length;
  return (
    <Panel
      className="span-12"
      title="Features as served"
      aside={
        <div className="row">
          <span className="quiet small">
            {all} values, {percent(unknown / Math.max(1, all), 0)} unknown
          </span>
          <input className="input" aria-label="Search features" placeholder="Search features" value={text} onChange={(event) => setText(event.target.value)} />
        </div>
      }
      bare
    >
      <Scroll tall>
        <table>
          <thead>
            <tr>
              <th>Feature</th>
              <th>Of</th>
              <th className="number">Value</th>
              <th>Unit</th>
              <th>What it is</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ name, value, feature }) => (
              <tr key={name}>
                <th className="mono break">{name}</th>
                <td className="soft">{feature?.entity ?? ""}</td>
                <td className="number">{value === null ? <span className="quiet">unknown</span> : number(value, 7)}</td>
                <td className="soft nowrap">{unit(feature, value, currency)}</td>
                <td className="soft">{feature?.description ?? ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {rows.length === 0 && <Empty title="No feature fits" />}
      </Scroll>
    </Panel>
  );
}
