import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, post } from "../api/client";
import { useMay } from "../api/session";
import type { Finding } from "../api/types";
import { Answer, Button, Empty, Panel, Scroll, Tag, Time } from "../parts/basic";
import { ReasonDialog } from "../parts/dialog";
import { number, whole } from "../parts/format";
import { say } from "../parts/toasts";

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
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Answer of={drift} what="drift">
          {(data) => (
            <>
              <Panel title="Findings" aside={<span className="quiet small">one a feature and detector, the worst first; PSI beyond chance</span>} bare>
                {data.findings.length === 0 ? <Empty title="No drift test has run yet">Tests start once a model is live and has scored 500 payments.</Empty> : <Findings rows={data.findings} />}
              </Panel>
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
      </div>
      {asking && (
        <ReasonDialog
          title="Ask for retraining"
          verb="Ask"
          open
          close={() => setAsking(false)}
          act={async (why) => {
            await post("/models/retrain", { why });
            await queries.invalidateQueries({ queryKey: ["drift"] });
            say("Asked. The new version will await approval under Models.");
          }}
        />
      )}
    </main>
  );
}

const ORDER = ["critical", "warning", "none"];

function Findings({ rows }: { rows: Finding[] }) {
  const sorted = [...rows].sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity) || (b.psi ?? 0) - (a.psi ?? 0));
  return (
    <Scroll>
      <table>
        <thead>
          <tr>
            <th>Severity</th>
            <th>Feature</th>
            <th>Detector</th>
            <th>Since</th>
            <th>Last window</th>
            <th className="number">Windows</th>
            <th className="number">Statistic</th>
            <th className="number">p</th>
            <th className="number">PSI</th>
            <th className="number">Rows</th>
            <th>Model</th>
          </tr>
        </thead>
        <tbody>
          {sorted.map((row) => (
            <tr key={row.feature + row.detector + row.since}>
              <td>
                <Tag tone={TONES[row.severity] ?? ""}>{row.severity}</Tag>
              </td>
              <th className="mono break">{row.feature}</th>
              <td>{row.detector}</td>
              <td>
                <Time at={row.since} />
              </td>
              <td>
                <Time at={row.last} />
              </td>
              <td className="number">{whole(row.rounds)}</td>
              <td className="number">{row.statistic.toFixed(3)}</td>
              <td className="number">{row.p_value === null ? "–" : row.p_value < 0.0001 ? "< 0.0001" : number(row.p_value, 2)}</td>
              <td className="number">{row.psi === null ? "–" : row.psi.toFixed(3)}</td>
              <td className="number">{whole(row.rows)}</td>
              <td>{row.model_version}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
