import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, post } from "../../api/client";
import { useMay } from "../../api/session";
import type { Check, Rollout } from "../../api/types";
import { Answer, Button, Empty, Panel, Screen, Tag, Time } from "../../parts/basic";
import { ReasonDialog } from "../../parts/dialog";
import { number, percent, span, whole, words } from "../../parts/format";
import { Table } from "../../parts/table";
import { say } from "../../parts/toasts";
import { Link } from "../../shell/router";
import { interval, ResultTag } from "./gates";

type Step = "pause" | "resume" | "step" | "abort";
const TEXTS: Record<Step, { verb: string; text: string }> = {
  pause: { verb: "Pause", text: "The share stays as it is; nothing advances until it is resumed." },
  resume: { verb: "Resume", text: "The plan goes on from the step where it was paused." },
  step: { verb: "Next step", text: "The next step of the plan begins now, whatever the checks say." },
  abort: { verb: "Abort", text: "All cards go back to the champion at once; the challenger is unloaded." },
};
const UNDER_WAY = ["shadow", "canary", "ab", "paused"];

export function RolloutScreen() {
  const rollout = useQuery({ queryKey: ["rollout"], queryFn: ({ signal }) => get<Rollout>("/rollout", {}, signal), refetchInterval: 5_000 });
  return (
    <Screen>
      <Answer of={rollout} what="the rollout">
        {(data) => (
          <>
            <Head rollout={data} />
            {data.pause && <p className="message warn">Paused: {data.pause}</p>}
            {data.loaded === false && <p className="message">The replicas load the challenger; nothing goes to it before each of them has.</p>}
            <Traffic rollout={data} />
            <Steps rollout={data} />
            <Checks checks={data.checks ?? []} under_way={UNDER_WAY.includes(data.state)} />
            <History rollout={data} />
          </>
        )}
      </Answer>
    </Screen>
  );
}

const TONES: Record<string, "good" | "warn" | "bad" | "accent"> = { done: "good", live: "good", rolled_back: "bad", paused: "warn", shadow: "accent", canary: "accent", ab: "accent" };

function Head({ rollout }: { rollout: Rollout }) {
  const [asked, setAsked] = useState<Step | null>(null);
  const queries = useQueryClient();
  const approve = useMay("approve", true);
  const abort = useMay("rollback", true);
  const under_way = UNDER_WAY.includes(rollout.state);
  const offered: Step[] = under_way ? [rollout.state === "paused" ? "resume" : "pause", "step", "abort"] : [];
  const text = (name: string) => (typeof rollout[name] === "string" || typeof rollout[name] === "number" ? String(rollout[name]) : null);
  const act = async (why: string) => {
    await post(`/rollout/${asked ?? ""}`, { why });
    await queries.invalidateQueries({ queryKey: ["rollout"] });
    say(asked === "abort" ? "Aborted: the champion serves every card." : `${TEXTS[asked ?? "pause"].verb}: done.`);
  };
  return (
    <div className="row wrap apart">
      <div className="row wrap">
        <h2 className="title">{rollout.model}</h2>
        <Tag tone={TONES[rollout.state] ?? ""}>{words(rollout.state)}</Tag>
        {under_way && rollout.step !== null && rollout.step !== undefined && (
          <span className="soft">
            step {rollout.step}
            {rollout.steps?.length ? ` of ${rollout.steps.length}` : ""}
            {rollout.started_by && `, begun by ${rollout.started_by}`}
          </span>
        )}
        <span className="soft">
          since <Time at={text("step_since") ?? rollout.since} />
          {text("by") && `, by ${text("by")}`}
          {text("why") && `: ${text("why")}`}
        </span>
      </div>
      <div className="row">
        {offered.map((step) => {
          const may = step === "abort" || step === "pause" ? abort : approve;
          return (
            <Button key={step} look={step === "abort" ? "danger" : ""} refused={may.may ? null : may.why} onClick={() => setAsked(step)}>
              {TEXTS[step].verb}
            </Button>
          );
        })}
        {!under_way && <Link href="/models">Start one from a waiting model</Link>}
      </div>
      {asked && (
        <ReasonDialog title={`${TEXTS[asked].verb} the rollout`} verb={TEXTS[asked].verb} danger={asked === "abort"} close={() => setAsked(null)} act={act}>
          <p className="soft">{TEXTS[asked].text}</p>
        </ReasonDialog>
      )}
    </div>
  );
}

function Traffic({ rollout }: { rollout: Rollout }) {
  const arms = Object.entries(rollout.arms ?? {}).filter(([, version]) => version);
  if (arms.length === 0) return null;
  const share = (arm: string) => rollout.traffic?.[arm] ?? (arms.length === 1 ? 1 : 0);
  return (
    <Panel title="Arms" aside={<span className="quiet small">share of the cards</span>}>
      <div className="stack tight">
        <div className="shares" role="img" aria-label={arms.map(([arm, version]) => `${arm} ${version}: ${percent(share(arm), 1)} of the cards`).join("; ")}>
          {arms.map(([arm]) => (
            <span key={arm} className={arm} style={{ flexGrow: share(arm) }} />
          ))}
        </div>
        <div className="row wrap apart">
          {arms.map(([arm, version]) => (
            <span key={arm}>
              <span className={`swatch ${arm}`} aria-hidden="true" /> {arm} <Link href={`/models/${version ?? ""}`}>{version}</Link> <span className="strong">{percent(share(arm), 1)}</span>
              {arm === "challenger" && share(arm) === 0 && <span className="soft">{rollout.shadow ? " (in shadow: scores beside, decides nothing)" : " (loaded, decides nothing yet)"}</span>}
            </span>
          ))}
        </div>
      </div>
    </Panel>
  );
}

/** The plan: what each step gives to the challenger and what it must have seen before it ends. */
function Steps({ rollout }: { rollout: Rollout }) {
  const steps = rollout.steps ?? [];
  if (steps.length === 0) return null;
  const now = Number(rollout.step ?? 0);
  const over = !UNDER_WAY.includes(rollout.state);
  return (
    <Panel title="Plan" aside={<span className="quiet small">{rollout.decisions === null || rollout.decisions === undefined ? "" : `${whole(rollout.decisions)} decisions seen in this step`}</span>}>
      <ol className="steps">
        {steps.map((step, at) => (
          <li key={at} aria-current={!over && at + 1 === now ? "step" : undefined} className={at + 1 < now || rollout.state === "done" ? "past" : ""}>
            <span className="strong">
              {words(step.kind)} {step.share !== undefined && step.share !== null && percent(step.share, step.share < 0.1 ? 1 : 0)}
            </span>
            <span className="quiet small">
              {[step.min_decisions ? `${whole(step.min_decisions)} decisions` : "", step.min_s ? span(step.min_s) : ""].filter(Boolean).join(", ") || "until its checks pass"}
            </span>
          </li>
        ))}
      </ol>
    </Panel>
  );
}

function Checks({ checks, under_way }: { checks: Check[]; under_way: boolean }) {
  return (
    <Panel title="Checks" aside={<span className="quiet small">estimate with its interval, beside the limit</span>} bare={checks.length > 0}>
      {checks.length === 0 ? (
        <p className="soft">{under_way ? "None has figures yet." : "No rollout is under way."}</p>
      ) : (
        <Table
          rows={checks}
          keyOf={({ name }) => name}
          columns={[
            { name: "Check", heads: true, cell: ({ name }) => words(name) },
            { name: "Result", cell: ({ result }) => <ResultTag of={result} /> },
            { name: "Payments", look: "number", cell: ({ n }) => (n === null ? "–" : whole(n)) },
            { name: "Estimate", look: "number", cell: ({ estimate }) => (estimate === null ? "–" : number(estimate, 4)) },
            { name: "Interval", look: "number", cell: interval },
            { name: "Limit", cell: ({ limit }) => limit ?? "–" },
            { name: "Interval drawn", hidden: true, look: "wide", cell: (check) => <Interval check={check} /> },
          ]}
        />
      )}
    </Panel>
  );
}

/** The numbers of a limit in words: "at least 0.1 and at most 5 (…)". */
const boundsOf = (limit: string | null): number[] => [...(limit ?? "").matchAll(/at (?:least|most) (-?[\d.]+(?:e-?\d+)?)/g)].map((found) => Number(found[1])).filter(Number.isFinite);

/** The interval as a bar, the estimate as a point, each bound of the limit as a line; the scale holds all of them. */
function Interval({ check }: { check: Check }) {
  const { low, high, estimate, limit } = check;
  if (low === null || high === null || estimate === null) return null;
  const bounds = boundsOf(limit);
  const all = [low, high, estimate, ...bounds];
  const [from, to] = [Math.min(...all), Math.max(...all)];
  const x = (value: number) => 6 + (188 * (value - from)) / (to - from || 1);
  return (
    <svg className="interval" viewBox="0 0 200 24" preserveAspectRatio="none" aria-hidden="true">
      <rect x={x(low)} y="9" width={Math.max(1, x(high) - x(low))} height="6" rx="1" fill="var(--accent)" opacity="0.35" />
      <rect x={x(estimate) - 1.5} y="6" width="3" height="12" fill="var(--accent)" />
      {bounds.map((bound) => (
        <rect key={bound} x={x(bound) - 0.5} y="2" width="1.5" height="20" fill="var(--decline-fill)" />
      ))}
    </svg>
  );
}

const shareOf = (traffic: Record<string, number> | undefined) => (traffic?.challenger === undefined ? "–" : percent(traffic.challenger, 1));

function History({ rollout }: { rollout: Rollout }) {
  const entries = [...(rollout.history ?? [])].reverse();
  const text = (entry: Record<string, unknown>, name: string) => (entry[name] === null || entry[name] === undefined ? "" : String(entry[name]));
  return (
    <Panel title="History" aside={<span className="quiet small">newest first</span>} bare={entries.length > 0}>
      {entries.length === 0 ? (
        <Empty title="Nothing has been rolled out yet" />
      ) : (
        <Table
          rows={entries}
          keyOf={(entry, at) => text(entry, "sequence") || at}
          columns={[
            { name: "When", cell: (entry) => <Time at={text(entry, "at") || text(entry, "since")} /> },
            {
              name: "State",
              cell: (entry) => (
                <>
                  {words(text(entry, "state"))}
                  {text(entry, "step") && <span className="quiet"> step {text(entry, "step")}</span>}
                </>
              ),
            },
            { name: "Champion", cell: (entry) => text(entry, "champion") },
            { name: "Challenger", cell: (entry) => text(entry, "challenger") || "–" },
            { name: "Its share", look: "number", cell: ({ traffic }) => shareOf(traffic as Record<string, number> | undefined) },
            { name: "By", cell: (entry) => text(entry, "by") || text(entry, "approved_by") },
            { name: "Why", look: "soft break", cell: (entry) => text(entry, "why") },
          ]}
        />
      )}
    </Panel>
  );
}
