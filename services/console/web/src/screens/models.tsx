import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, post } from "../api/client";
import { useMay } from "../api/session";
import type { ModelRow } from "../api/types";
import { Answer, Button, Empty, Field, Figure, Panel, Scroll, Tag, Time } from "../parts/basic";
import { ReasonDialog } from "../parts/dialog";
import { Facts } from "../parts/facts";
import { words } from "../parts/format";
import { say } from "../parts/toasts";
import { Link, useParam } from "../shell/router";
import { Thresholds } from "./thresholds";

const WAITS = "awaiting approval";
type Action = "approve" | "reject" | "promote" | "rollout";

const useModels = () => useQuery({ queryKey: ["models"], queryFn: ({ signal }) => get<ModelRow[]>("/models", {}, signal), refetchInterval: 15_000 });

function State({ row }: { row: ModelRow }) {
  if (row.state === "live") return row.reviewed ? <Tag tone="good">live</Tag> : <Tag tone="warn">live, unreviewed</Tag>;
  return <Tag tone={row.state === WAITS ? "accent" : row.state === "rejected" ? "bad" : ""}>{row.state}</Tag>;
}

const figure = (value: number | null | undefined): string => (value === null || value === undefined ? "–" : value.toFixed(3));

export function Models() {
  const models = useModels();
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Answer of={models} what="the models">
          {(rows) =>
            rows.length === 0 ? (
              <Empty title="No model was published yet">`tollgate train` makes a first one.</Empty>
            ) : (
              <>
                {rows.filter((row) => row.state === WAITS).map((row) => (
                  <Waiting key={row.version} row={row} live={rows.find((one) => one.state === "live") ?? null} />
                ))}
                <Registry rows={rows} />
              </>
            )
          }
        </Answer>
      </div>
    </main>
  );
}

/** A version that waits for a person, beside the one that serves. */
function Waiting({ row, live }: { row: ModelRow; live: ModelRow | null }) {
  const difference = (name: "average_precision" | "auc_roc" | "card_precision_at_100") => {
    const [mine, theirs] = [row[name], live?.[name]];
    if (mine === null || theirs === null || theirs === undefined) return "no figure to compare with";
    const by = mine - theirs;
    return `${by >= 0 ? "+" : "−"}${Math.abs(by).toFixed(3)} against ${live?.version ?? "the live one"}`;
  };
  return (
    <Panel title={`${row.version} awaits approval`} aside={<Actions row={row} />}>
      <div className="stack">
        <p className="soft">
          Proposed by {row.by || "nobody"}, <Time at={row.since ?? row.created_at} />
          {row.why && <>: {row.why}</>}. <Link href={`/models/${part(row.version)}`}>Its evaluation, policy and lineage</Link> · <Link href={`/models/${part(row.version)}?compare=1`}>compare with the live one</Link>
        </p>
        <dl className="figures">
          <Figure name="Average precision" value={figure(row.average_precision)} note={difference("average_precision")} />
          <Figure name="AUC" value={figure(row.auc_roc)} note={difference("auc_roc")} />
          <Figure name="Precision, 100 cards a day" value={figure(row.card_precision_at_100)} note={difference("card_precision_at_100")} />
        </dl>
        <p className="quiet small">Each on its own evaluation data: the comparison scores both on the same payments.</p>
      </div>
    </Panel>
  );
}

const MAX_COMPARED = 4;

function Registry({ rows }: { rows: ModelRow[] }) {
  const newest = [...rows].reverse();
  const [picked, setPicked] = useState<string[]>([]);
  const [compared, setCompared] = useState<string[]>([]);
  const toggle = (version: string) => setPicked(picked.includes(version) ? picked.filter((one) => one !== version) : [...picked, version]);
  return (
    <>
    {compared.length > 0 && <Thresholds key={compared.join()} versions={compared} close={() => setCompared([])} />}
    <Panel
      title="Registry"
      aside={
        <div className="row wrap">
          <span className="quiet small">newest first</span>
          <Button refused={picked.length === 0 ? "Select up to four versions." : picked.length > MAX_COMPARED ? `At most ${MAX_COMPARED}.` : null} onClick={() => setCompared(picked)}>
            Compare by threshold
          </Button>
        </div>
      }
      bare
    >
      <Scroll>
        <table>
          <thead>
            <tr>
              <th>
                <span className="hidden-text">Selected</span>
              </th>
              <th>Version</th>
              <th>State</th>
              <th className="number">Average precision</th>
              <th className="number">AUC</th>
              <th className="number">Precision at 100</th>
              <th>By</th>
              <th>Since</th>
              <th>Reason</th>
            </tr>
          </thead>
          <tbody>
            {newest.map((row) => (
              <tr key={row.version} className="link">
                <td>
                  <input type="checkbox" aria-label={`Select ${row.version}`} checked={picked.includes(row.version)} onChange={() => toggle(row.version)} />
                </td>
                <th>
                  <Link href={`/models/${part(row.version)}`}>{row.version}</Link>
                </th>
                <td>
                  <State row={row} /> {row.verdict === "fail" && <Tag tone="bad">gates failed</Tag>}
                </td>
                <td className="number">{figure(row.average_precision)}</td>
                <td className="number">{figure(row.auc_roc)}</td>
                <td className="number">{figure(row.card_precision_at_100)}</td>
                <td>{row.by || "–"}</td>
                <td>
                  <Time at={row.since ?? row.created_at} />
                </td>
                <td className="soft break">{row.why || "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Panel>
    </>
  );
}

const TEXTS: Record<Action, { verb: string; title: (version: string) => string; text: string }> = {
  approve: { verb: "Approve", title: (version) => `Approve ${version}`, text: "Every replica loads it, warms it up and serves it. You need to be somebody else than its author." },
  reject: { verb: "Reject", title: (version) => `Reject ${version}`, text: "It will not serve. Its bundle stays in the registry." },
  promote: { verb: "Make live again", title: (version) => `Make ${version} live again`, text: "It was approved before; every replica goes back to it." },
  rollout: { verb: "Start rollout", title: (version) => `Roll out ${version} step by step`, text: "It gets a growing share of the cards, judged at each step, by a plan; the champion serves the others." },
};

/** What can be done with a version now, each with a reason. */
function Actions({ row }: { row: ModelRow }) {
  const [asked, setAsked] = useState<Action | null>(null);
  const [plan, setPlan] = useState("");
  const queries = useQueryClient();
  const approve = useMay("approve", true);
  const reject = useMay("reject", true);
  const offered: Action[] = row.state === WAITS ? ["rollout", "approve", "reject"] : row.state === "live" && !row.reviewed ? ["approve"] : ["superseded", "approved", "rolled back"].includes(row.state) ? ["promote"] : [];
  const act = async (why: string) => {
    const answer = await post<{ replicas?: string[]; state?: string }>(`/models/${part(row.version)}/${asked ?? ""}`, asked === "rollout" ? { why, plan: plan.trim() || null } : { why });
    await Promise.all([queries.invalidateQueries({ queryKey: ["models"] }), queries.invalidateQueries({ queryKey: ["model"] }), queries.invalidateQueries({ queryKey: ["rollout"] })]);
    say(asked === "reject" ? `${row.version} is rejected.` : asked === "rollout" ? `The rollout of ${row.version} has begun.` : `${row.version} is live${answer.replicas?.length ? `, served by ${answer.replicas.join(", ")}` : ""}.`);
  };
  return (
    <div className="row">
      {offered.map((action) => {
        const may = action === "reject" ? reject : approve;
        return (
          <Button key={action} look={action === "approve" ? "primary" : action === "reject" ? "danger" : ""} refused={may.may ? null : may.why} onClick={() => setAsked(action)}>
            {TEXTS[action].verb}
          </Button>
        );
      })}
      {asked && (
        <ReasonDialog title={TEXTS[asked].title(row.version)} verb={TEXTS[asked].verb} danger={asked === "reject"} close={() => setAsked(null)} act={act}>
          <p className="soft">{TEXTS[asked].text}</p>
          {asked === "rollout" && (
            <details>
              <summary>A plan of your own</summary>
              <Field name="Steps and guards, TOML" hint="Empty: shadow, then 1, 5, 25 and 100 % of the cards.">
                {(id) => <textarea id={id} className="input code" rows={8} maxLength={20_000} spellCheck={false} value={plan} onChange={(event) => setPlan(event.target.value)} />}
              </Field>
            </details>
          )}
        </ReasonDialog>
      )}
    </div>
  );
}

interface WholeModel extends ModelRow {
  signature: string;
  catalogue: { trained_on: string; running: string; same: boolean; does_not_use: string[] };
  policy: Record<string, unknown>;
  calibration: unknown;
  evaluation: Record<string, unknown>;
  lineage: Record<string, unknown>;
}

export function ModelScreen({ id }: { id: string }) {
  const [compare] = useParam("compare");
  const model = useQuery({ queryKey: ["model", id], queryFn: ({ signal }) => get<WholeModel>(`/models/${part(id)}`, {}, signal) });
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Answer of={model} what={`model ${id}`}>
          {(data) => (
            <>
              <div className="row wrap apart">
                <div className="row wrap">
                  <h2 className="title">
                    {data.model} {data.version}
                  </h2>
                  <State row={data} />
                  <span className="soft">
                    signature {data.signature}; {data.by ? `by ${data.by}` : ""} <Time at={data.since ?? data.created_at} />
                  </span>
                </div>
                <Actions row={data} />
              </div>
              {!data.catalogue.same && (
                <p className="message warn">
                  It was trained on catalogue {data.catalogue.trained_on}; {data.catalogue.running} runs.
                </p>
              )}
              {data.state !== "live" && <Compare version={id} at_once={compare === "1"} />}
              <div className="grid">
                <Panel className="span-4" title="Evaluation">
                  <Facts value={data.evaluation} />
                </Panel>
                <Panel className="span-4" title="Policy">
                  <Facts value={data.policy} />
                </Panel>
                <Panel className="span-4" title="Lineage">
                  <Facts value={{ ...data.lineage, ...(data.catalogue.does_not_use.length > 0 ? { "does not use": data.catalogue.does_not_use } : {}) }} />
                </Panel>
              </div>
            </>
          )}
        </Answer>
      </div>
    </main>
  );
}

interface Side {
  auc_roc: number | null;
  average_precision: number | null;
  card_precision_at_100: number | null;
  calibration_error: number | null;
  review: { precision: number | null; recall: number | null };
  decline: { precision: number | null; recall: number | null };
}

function Compare({ version, at_once }: { version: string; at_once: boolean }) {
  const [asked, setAsked] = useState(at_once);
  const found = useQuery({
    queryKey: ["compare", version],
    queryFn: ({ signal }) => get<{ versions: { candidate: string; live: string }; candidate: Side; live: Side; switched_off: string[]; gates?: Record<string, unknown> }>("/models/compare", { candidate: version }, signal),
    enabled: asked,
    retry: false,
    staleTime: 300_000,
  });
  if (!asked) {
    return (
      <div className="row">
        <Button onClick={() => setAsked(true)}>Compare with the live version</Button>
        <span className="quiet small">scores both on the labelled payments that neither has seen, with the whole policy; takes some seconds</span>
      </div>
    );
  }
  const NAMES = ["average_precision", "auc_roc", "card_precision_at_100", "calibration_error"] as const;
  const cells = (mine: number | null, theirs: number | null) => (
    <>
      <td className="number">{figure(mine)}</td>
      <td className="number">{figure(theirs)}</td>
      <td className="number soft">{mine === null || theirs === null ? "–" : `${mine >= theirs ? "+" : "−"}${Math.abs(mine - theirs).toFixed(3)}`}</td>
    </>
  );
  return (
    <Panel title="On the same payments" bare>
      <Answer of={found} what="the comparison (some seconds)">
        {(data) => (
          <>
            <table>
              <thead>
                <tr>
                  <th>Measure</th>
                  <th className="number">{data.versions.candidate}</th>
                  <th className="number">{data.versions.live} (live)</th>
                  <th className="number">Difference</th>
                </tr>
              </thead>
              <tbody>
                {NAMES.map((name) => (
                  <tr key={name}>
                    <th>{name === "auc_roc" ? "AUC" : words(name)}</th>
                    {cells(data.candidate[name], data.live[name])}
                  </tr>
                ))}
                {(["review", "decline"] as const).flatMap((decision) =>
                  (["precision", "recall"] as const).map((measure) => (
                    <tr key={decision + measure}>
                      <th>
                        {measure} of {decision}
                      </th>
                      {cells(data.candidate[decision][measure], data.live[decision][measure])}
                    </tr>
                  )),
                )}
              </tbody>
            </table>
            {data.gates && (
              <div className="body">
                <h3>Gates</h3>
                <Facts value={data.gates} />
              </div>
            )}
            {data.switched_off.length > 0 && (
              <div className="body">
                <p className="message warn">{data.versions.candidate} would switch off what people set in the live policy: {data.switched_off.join(", ")}.</p>
              </div>
            )}
          </>
        )}
      </Answer>
    </Panel>
  );
}
