/** What is asked of one decision less often, and takes longer: where its time went, where it comes from, the same made again. */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get, part } from "../../api/client";
import { Answer, Button, Panel, Tag } from "../../parts/basic";
import { Facts } from "../../parts/facts";
import { number, words } from "../../parts/format";
import { Table } from "../../parts/table";

interface Of {
  id: string;
  tenant: string;
}

type Kind = "trace" | "explained" | "again" | "today";
const NAMES: [Kind, string][] = [
  ["trace", "Where its time went"],
  ["explained", "Where it comes from"],
  ["again", "Make it again"],
  ["today", "By today's model and rules"],
];

export function Depth({ id, tenant }: Of) {
  const [kind, setKind] = useState<Kind | null>(null);
  return (
    <Panel title="Look deeper" aside={<span className="quiet small">from the log, the bundle and the archive; takes seconds</span>} className="span-12">
      <div className="stack">
        <div className="row wrap">
          {NAMES.map(([one, text]) => (
            <Button key={one} aria-pressed={kind === one} look={kind === one ? "primary" : ""} onClick={() => setKind(one)}>
              {text}
            </Button>
          ))}
        </div>
        {kind === "trace" && <TraceOf id={id} tenant={tenant} />}
        {kind === "explained" && <Explained id={id} tenant={tenant} />}
        {kind === "again" && <Again id={id} tenant={tenant} />}
        {kind === "today" && <Today id={id} tenant={tenant} />}
      </div>
    </Panel>
  );
}

function useDepth<Data>(kind: Kind, { id, tenant }: Of) {
  const path = `/decisions/${part(id)}/${kind === "today" ? "again" : kind}`;
  return useQuery({ queryKey: [kind, tenant, id], queryFn: ({ signal }) => get<Data>(path, { tenant, today: kind === "today" || null }, signal), staleTime: kind === "today" ? 0 : Number.POSITIVE_INFINITY, retry: false });
}

interface Trace {
  trace_id: string;
  edge: string;
  total_ms: number;
  spans: { name: string; process: string; start: string; end: string; ms: number; waited_for: boolean }[];
}

/** Milliseconds with the fraction that `Date.parse` drops. */
function precise(text: string): number {
  const fraction = /\.(\d+)/.exec(text)?.[1] ?? "0";
  return Math.floor(Date.parse(text) / 1000) * 1000 + Number(`0.${fraction}`) * 1000;
}

function TraceOf(of: Of) {
  const found = useDepth<Trace>("trace", of);
  return (
    <Answer of={found} what="the trace">
      {(trace) => {
        const first = Math.min(...trace.spans.map((span) => precise(span.start)));
        const length = Math.max(...trace.spans.map((span) => precise(span.end))) - first || 1;
        return (
          <div className="stack tight">
            <p className="soft">
              {number(trace.total_ms, 4)} ms over {trace.edge}; trace <span className="mono break">{trace.trace_id}</span>. What nobody waited for is pale.
            </p>
            <ul className="waterfall">
              {trace.spans.map((span, at) => (
                <li key={span.process + span.name + String(at)}>
                  <span>
                    <span className="strong">{span.process}</span> <span className="soft">{span.name}</span>
                  </span>
                  <span className="lane" aria-hidden="true">
                    <span className={span.waited_for ? "" : "pale"} style={{ left: `${(100 * (precise(span.start) - first)) / length}%`, width: `${(100 * span.ms) / length}%` }} />
                  </span>
                  <span className="right nowrap">{number(span.ms, 3)} ms</span>
                </li>
              ))}
            </ul>
          </div>
        );
      }}
    </Answer>
  );
}

function Explained(of: Of) {
  const found = useDepth<Record<string, unknown>>("explained", of);
  return (
    <Answer of={found} what="what is behind the decision">
      {({ decision: _shown, reasons: _above, ...behind }) => <Facts value={behind} />}
    </Answer>
  );
}

interface Difference {
  field: string;
  decided: unknown;
  replayed: unknown;
}

interface Replayed {
  identical: boolean;
  differences: Difference[];
  left_out: string[];
  model_version: string;
  policy_version: string;
  features_from: string;
  backend: string;
}

function Again(of: Of) {
  const found = useDepth<Replayed>("again", of);
  return (
    <Answer of={found} what="the decision, made again">
      {(again) => (
        <div className="stack tight">
          <p>
            {again.identical ? <Tag tone="good">the same</Tag> : <Tag tone="bad">not the same</Tag>} Made again by model {again.model_version} with policy {again.policy_version}, features from the {again.features_from}, scored by{" "}
            {again.backend}.
          </p>
          {again.left_out.length > 0 && <p className="soft">Not compared, because time left it out then: {again.left_out.join(", ")}.</p>}
          {again.differences.length > 0 && <Facts value={again.differences} />}
        </div>
      )}
    </Answer>
  );
}

/** What is live now would decide; the decision itself stays what it was. */
function Today(of: Of) {
  const found = useDepth<Replayed>("today", of);
  return (
    <Answer of={found} what="what today's model says">
      {({ differences, model_version, policy_version, features_from }) => (
        <div className="stack tight">
          <p className="message">
            Not what was decided: what model {model_version} with policy {policy_version}, live now, says of the features as they were served then (from the {features_from}).
          </p>
          {differences.length === 0 ? (
            <p>
              <Tag tone="good">the same</Tag> It would decide as it was decided.
            </p>
          ) : (
            <Table
              rows={differences}
              keyOf={({ field }) => field}
              columns={[
                { name: "What", heads: true, cell: ({ field }) => words(field) },
                { name: "Decided then", cell: ({ decided }) => <Facts value={decided} /> },
                { name: "Today", cell: ({ replayed }) => <Facts value={replayed} /> },
              ]}
            />
          )}
        </div>
      )}
    </Answer>
  );
}
