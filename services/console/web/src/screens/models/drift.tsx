import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, post } from "../../api/client";
import { useMay } from "../../api/session";
import type { Finding } from "../../api/types";
import { Answer, Button, Empty, Panel, Screen, Tag, Time } from "../../parts/basic";
import { ReasonDialog } from "../../parts/dialog";
import { number, percent, whole } from "../../parts/format";
import { SharesBeside } from "../../parts/shares";
import { Table } from "../../parts/table";
import { say } from "../../parts/toasts";
import { useParam } from "../../shell/router";

interface Found {
  findings: Finding[];
  retraining: Record<string, unknown>[];
}

const TONES: Record<string, "" | "warn" | "bad"> = { critical: "bad", warning: "warn" };

export function Drift() {
  const drift = useQuery({ queryKey: ["drift"], queryFn: ({ signal }) => get<Found>("/drift", {}, signal), refetchInterval: 30_000 });
  const may = useMay("retrain", true);
  const queries = useQueryClient();
  const [asking, setAsking] = useState(false);
  const [feature, setFeature] = useParam("feature");
  return (
    <Screen>
      <Answer of={drift} what="drift">
        {(data) => (
          <>
            <Panel title="Findings" aside={<span className="quiet small">one a feature and detector, the worst first; PSI beyond chance</span>} bare>
              {data.findings.length === 0 ? <Empty title="No drift test has run yet">Tests start once a model is live and has scored 500 payments.</Empty> : <Findings rows={data.findings} chosen={feature} choose={setFeature} />}
            </Panel>
            {feature && <Distribution key={feature} feature={feature} close={() => setFeature("")} />}
            <Panel
              title="Retraining requests"
              aside={
                <Button refused={may.may ? null : may.why} onClick={() => setAsking(true)}>
                  Ask for retraining …
                </Button>
              }
            >
              {data.retraining.length === 0 ? (
                <p className="soft">None.</p>
              ) : (
                <ul className="stack tight">
                  {[...data.retraining].reverse().map((request, at) => (
                    <li key={String(request.dedupe_key ?? at)}>
                      <Time at={typeof request.requested_at === "string" ? request.requested_at : null} /> <span className="strong">{String(request.model ?? "")}</span> <span className="soft break">{String(request.reason ?? "")}</span>
                    </li>
                  ))}
                </ul>
              )}
            </Panel>
          </>
        )}
      </Answer>
      {asking && (
        <ReasonDialog
          title="Ask for retraining"
          verb="Ask"
          close={() => setAsking(false)}
          act={async (why) => {
            await post("/models/retrain", { why });
            await queries.invalidateQueries({ queryKey: ["drift"] });
            say("Asked. The new version will await approval under Models.");
          }}
        />
      )}
    </Screen>
  );
}

interface Side {
  rows: number;
  unknown: number;
  shares: number[];
}

interface Distributed {
  feature: string;
  kind: "number" | "category";
  edges: number[];
  reference: Side;
  now: Side & { from: string; to: string };
  psi: number;
}

/** What each bin holds: up to the next edge, or one category. */
function binsOf({ kind, edges }: Distributed): string[] {
  const short = (value: number) => number(value, 3);
  if (kind === "category") return [...edges.map(short), "others"];
  return [...edges.map((edge) => `< ${short(edge)}`), edges.length > 0 ? `≥ ${short(edges[edges.length - 1] ?? 0)}` : "all"];
}

/** One feature: what the live model was trained on beside what comes now. */
function Distribution({ feature, close }: { feature: string; close: () => void }) {
  const found = useQuery({ queryKey: ["drift", feature], queryFn: ({ signal }) => get<Distributed>(`/drift/${part(feature)}`, {}, signal), staleTime: 60_000, retry: false });
  return (
    <Panel
      title={`${feature}: reference against now`}
      aside={
        <Button look="plain" onClick={close}>
          Close
        </Button>
      }
    >
      <Answer of={found} what="the distribution">
        {(data) => (
          <div className="stack tight">
            <SharesBeside title={feature} bins={binsOf(data)} before={{ name: "reference of the live model", shares: data.reference.shares }} after={{ name: "newest payments", shares: data.now.shares }} />
            <p className="soft small">
              {data.kind === "number" ? "Bins at the reference's tenths" : "Categories of the reference, and all others"}; PSI {data.psi.toFixed(3)}, chance included. {whole(data.reference.rows)} rows of the reference, {percent(data.reference.unknown, 1)} unknown;{" "}
              {whole(data.now.rows)} newest payments, <Time at={data.now.from} /> to <Time at={data.now.to} />, {percent(data.now.unknown, 1)} unknown.
            </p>
          </div>
        )}
      </Answer>
    </Panel>
  );
}

const ORDER = ["critical", "warning", "none"];

function Findings({ rows, chosen, choose }: { rows: Finding[]; chosen: string; choose: (feature: string) => void }) {
  const sorted = [...rows].sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity) || (b.psi ?? 0) - (a.psi ?? 0));
  return (
    <Table
      rows={sorted}
      keyOf={(row) => row.feature + row.detector + row.since}
      selected={(row) => row.feature === chosen}
      columns={[
        { name: "Severity", cell: (row) => <Tag tone={TONES[row.severity] ?? ""}>{row.severity}</Tag> },
        {
          name: "Feature",
          look: "mono break",
          heads: true,
          cell: ({ feature }) =>
            feature === "*" ? (
              "all together"
            ) : (
              <button type="button" className="as-link" aria-pressed={feature === chosen} onClick={() => choose(feature)}>
                {feature}
              </button>
            ),
        },
        { name: "Detector", cell: (row) => row.detector },
        { name: "Since", cell: (row) => <Time at={row.since} /> },
        { name: "Last window", cell: (row) => <Time at={row.last} /> },
        { name: "Windows", look: "number", cell: (row) => whole(row.rounds) },
        { name: "Statistic", look: "number", cell: (row) => row.statistic.toFixed(3) },
        { name: "p", look: "number", cell: (row) => (row.p_value === null ? "–" : row.p_value < 0.0001 ? "< 0.0001" : number(row.p_value, 2)) },
        { name: "PSI", look: "number", cell: (row) => (row.psi === null ? "–" : row.psi.toFixed(3)) },
        { name: "Rows", look: "number", cell: (row) => whole(row.rows) },
        { name: "Model", cell: (row) => row.model_version },
        {
          name: "Probable cause",
          look: "break",
          cell: ({ cause, why }) => (
            <>
              {cause && <Tag>{cause}</Tag>} <span className="soft small">{why}</span>
            </>
          ),
        },
      ]}
    />
  );
}
