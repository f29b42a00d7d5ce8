import { useQuery } from "@tanstack/react-query";
import { useCallback, useMemo, useState } from "react";
import { get } from "../api/client";
import { useLive } from "../api/live";
import type { Overview, Second, Series } from "../api/types";
import { Answer, Empty, Failed, Figure, Panel, Scroll, Segments, Sums, Tag, Time } from "../parts/basic";
import { Chart } from "../parts/chart";
import { number, percent, shortMoney, span, whole, words } from "../parts/format";
import { Link, useParam } from "../shell/router";
import { useOverview } from "../shell/shell";

const RANGES = [
  ["300", "5 min"],
  ["900", "15 min"],
  ["3600", "1 h"],
  ["21600", "6 h"],
  ["86400", "24 h"],
  ["604800", "7 d"],
] as const;
/** at most so many points are drawn: more than a curve has pixels says nothing more */
const MAX_POINTS = 900;
const COLUMNS = ["approve", "review", "decline", "scored", "degraded", "not_scored"] as const;

export function OverviewScreen() {
  const overview = useOverview();
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Answer of={overview} what="the overview">
          {(data) => (
            <>
              <Problems data={data} />
              <Figures data={data} />
            </>
          )}
        </Answer>
        <Curves />
        {overview.data && <Parts data={overview.data} />}
      </div>
    </main>
  );
}

function Problems({ data }: { data: Overview }) {
  if (data.state === "ready" && data.problems.length === 0) return null;
  return (
    <div className="message warn">
      <span className="strong">The stack is {data.state}.</span>{" "}
      {data.problems.length > 0 && (
        <ul>
          {data.problems.map((problem) => (
            <li key={problem}>{problem}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Figures({ data }: { data: Overview }) {
  const now = data.last_minute;
  const share = (count: number) => (now.decisions ? number((100 * count) / now.decisions, 2) : "–");
  return (
    <dl className="figures">
      <Figure name="Decisions" value={number(now.per_s, 4)} unit="/ s" note="mean of the last minute" />
      <Figure name="Latency p99" value={now.p99_ms === null ? "–" : number(now.p99_ms, 3)} unit="ms" note={now.p50_ms === null ? "no decision in the last minute" : `p50 ${number(now.p50_ms, 3)} ms`} />
      <Figure name="Reviewed · declined" value={now.decisions ? `${share(now.review)} · ${share(now.decline)}` : "–"} unit="%" note={`${whole(now.review)} and ${whole(now.decline)} in a minute`} />
      <Figure name="Degraded · not scored" value={`${whole(now.degraded)} · ${whole(now.not_scored)}`} note="in the last minute" />
      <Figure
        name="Waiting for review"
        value={<Link href="/queue">{whole(data.queue.open)}</Link>}
        note={data.queue.oldest_age_s === null ? "nothing waits" : `oldest ${span(data.queue.oldest_age_s)}; at stake ${firstOf(data.queue.expected_loss)}`}
      />
      <Figure name="Fraud stopped" value={<Short sums={data.labels.caught} />} note={`labelled as fraud, last ${data.labels.window_days} d`} />
    </dl>
  );
}

const firstOf = (sums: Overview["queue"]["expected_loss"]) => {
  const largest = [...sums].sort((a, b) => b.minor - a.minor)[0];
  if (!largest) return "0";
  const { value, currency } = shortMoney(largest.minor, largest.currency);
  return `${value} ${currency}${sums.length > 1 ? ` and ${sums.length - 1} more` : ""}`;
};

/** The largest sum, compact; all of them when pointed at. */
function Short({ sums }: { sums: Overview["labels"]["caught"] }) {
  const largest = [...sums].sort((a, b) => b.minor - a.minor)[0];
  if (!largest) return <>0</>;
  return (
    <>
      {shortMoney(largest.minor, largest.currency).value}
      <span className="unit">{largest.currency}</span>
      <span className="hidden-text">
        <Sums sums={sums} />
      </span>
    </>
  );
}

interface Window {
  seconds: number;
  step: number;
  past: string;
}

function Curves() {
  const [range, setRange] = useParam("range", "900");
  const [until, setUntil] = useParam("until");
  const seconds = Number(RANGES.find(([value]) => value === range)?.[0] ?? 900);
  const step = seconds <= MAX_POINTS ? 1 : seconds <= 3600 ? 5 : seconds <= 21600 ? 30 : Math.ceil(seconds / MAX_POINTS / 60) * 60;
  return (
    <>
      <div className="row wrap apart">
        <h2>Traffic</h2>
        <div className="row wrap">
          <label className="row small soft">
            until
            <input
              className="input"
              type="datetime-local"
              value={until}
              max={localNow()}
              onChange={(event) => setUntil(event.target.value)}
              aria-describedby="until-now"
            />
          </label>
          <span id="until-now" className="quiet small">
            {until ? "" : "now"}
          </span>
          <Segments name="Window" value={String(seconds)} options={RANGES} change={setRange} />
        </div>
      </div>
      <Charts window={{ seconds, step, past: until }} />
    </>
  );
}

const localNow = () => new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

function Charts({ window }: { window: Window }) {
  const { seconds, step, past } = window;
  const series = useQuery({
    queryKey: ["series", seconds, step, past],
    queryFn: ({ signal }) => {
      if (!past) return get<Series>("/series", { seconds, step }, signal);
      const end = new Date(past);
      return get<Series>("/series", { from: new Date(end.getTime() - seconds * 1000).toISOString(), to: end.toISOString(), step }, signal);
    },
    refetchInterval: past ? false : step === 1 ? 60_000 : Math.max(5, step) * 1000,
  });
  const [live, setLive] = useState<Second[]>([]);
  const follows = !past && step === 1;
  useLive(
    "second",
    useCallback((second: Second) => setLive((known) => [...known, second].slice(-MAX_POINTS)), []),
  );
  const drawn = useMemo(() => (series.data ? columns(series.data, follows ? live : [], seconds) : null), [series.data, live, follows, seconds]);
  if (series.isError && !series.data) return <Failed error={series.error} retry={() => void series.refetch()} />;
  if (drawn === null) return <div className="state" role="status">Loading the curves …</div>;
  if (drawn.all[0]?.values.every((value) => !value)) return <Empty title="No decisions in this window">Send some: `tollgate simulate --rate 100 --seconds 600`</Empty>;
  const over = past ? `${span(seconds)} until ${past.replace("T", " ")}` : `last ${span(seconds)}`;
  const each = step === 1 ? "" : `, means over ${span(step)}`;
  return (
    <div className="grid">
      <Panel className="span-6" title="Decisions a second" aside={<span className="quiet small">{over + each}</span>}>
        <Chart title="Decisions" unit="/ s" over={over} t={drawn.t} curves={drawn.all} />
      </Panel>
      <Panel className="span-6" title="Latency" aside={<span className="quiet small">ms, to the hand-over to the broker</span>}>
        <Chart title="Latency" unit="ms" over={over} t={drawn.t} curves={drawn.latency} />
      </Panel>
      <Panel className="span-6" title="Review and decline a second" aside={<span className="quiet small">{over + each}</span>}>
        <Chart title="Review and decline" unit="/ s" over={over} t={drawn.t} curves={drawn.stopped} />
      </Panel>
      <Panel className="span-6" title="Degraded and not scored a second" aside={<span className="quiet small">{over + each}</span>}>
        <Chart title="Degraded and not scored" unit="/ s" over={over} t={drawn.t} curves={drawn.missing} />
      </Panel>
    </div>
  );
}

/** The stored series with the seconds that came since, cut to the window; counts become rates. */
function columns(series: Series, live: Second[], seconds: number) {
  const last = series.t[series.t.length - 1] ?? 0;
  const more = live.filter((second, at) => second.t > last && second.t !== live[at - 1]?.t);
  const t = [...series.t, ...more.map((second) => second.t)];
  const from = more.length ? Math.max(0, t.findIndex((moment) => moment > (t[t.length - 1] ?? 0) - seconds)) : 0;
  const rate = (name: (typeof COLUMNS)[number]) => [...series[name].map((count) => (count === null ? null : count / series.step_s)), ...more.map((second) => second[name])].slice(from);
  const as = (name: "p50_ms" | "p99_ms") => [...series[name], ...more.map((second) => second[name])].slice(from);
  const [approve, review, decline, degraded, missing] = [rate("approve"), rate("review"), rate("decline"), rate("degraded"), rate("not_scored")];
  const total = approve.map((count, at) => (count === null ? null : count + (review[at] ?? 0) + (decline[at] ?? 0)));
  return {
    t: t.slice(from),
    all: [
      { name: "all", color: "--accent", values: total, fill: true },
      { name: "approve", color: "--approve-fill", values: approve, dash: true },
    ],
    stopped: [
      { name: "review", color: "--review-fill", values: review },
      { name: "decline", color: "--decline-fill", values: decline, dash: true },
    ],
    missing: [
      { name: "degraded", color: "--review-fill", values: degraded },
      { name: "not scored", color: "--decline-fill", values: missing, dash: true },
    ],
    latency: [
      { name: "p99", color: "--accent", values: as("p99_ms") },
      { name: "p50", color: "--ink-3", values: as("p50_ms"), dash: true },
    ],
  };
}

function Parts({ data }: { data: Overview }) {
  return (
    <div className="grid">
      <Panel className="span-4" title="Model and arms" aside={<Link href="/rollout">Rollout</Link>}>
        {data.model === null ? (
          <p className="soft">No model serves.</p>
        ) : (
          <dl className="pairs">
            <dt>Serves</dt>
            <dd>
              <Link href={`/models/${data.model.version}`}>{data.model.version}</Link> {!data.model.reviewed && <Tag tone="warn">unreviewed</Tag>}
            </dd>
            <dt>Approved by</dt>
            <dd>{data.model.approved_by || "nobody"}</dd>
            <dt>Since</dt>
            <dd>
              <Time at={data.model.since} />
            </dd>
            {data.rollout && (
              <>
                <dt>Rollout</dt>
                <dd>{words(data.rollout.state)}</dd>
                {Object.entries(data.rollout.arms ?? {}).map(([arm, version]) => (
                  <Arm key={arm} arm={arm} version={version} share={data.rollout?.traffic?.[arm]} />
                ))}
              </>
            )}
          </dl>
        )}
      </Panel>
      <Panel className="span-4" title="Alerts" aside={<Link href="/oncall">On call</Link>}>
        {data.alerts === null ? (
          <p className="soft">Alertmanager does not answer.</p>
        ) : data.alerts.length === 0 ? (
          <p className="soft">No alert fires.</p>
        ) : (
          <ul className="stack tight">
            {data.alerts.map((alert) => (
              <li key={alert.alert + alert.since} className="small">
                <Tag tone={alert.severity === "page" && !alert.silenced ? "bad" : ""}>{alert.silenced ? "silenced" : alert.severity}</Tag> <span className="strong">{alert.alert}</span>{" "}
                <span className="soft break">{alert.summary}</span>
              </li>
            ))}
          </ul>
        )}
      </Panel>
      <Panel className="span-4" title="Consumer lag" aside={<span className="quiet small">records not read yet</span>} bare>
        {data.lag === null || data.lag.length === 0 ? (
          <div className="body soft">{data.lag === null ? "Kafka does not answer." : "No consumer is known yet."}</div>
        ) : (
          <Scroll>
            <table>
              <tbody>
                {data.lag.map((one) => (
                  <tr key={one.group + one.topic}>
                    <th className="break">{one.group}</th>
                    <td className="soft">{one.topic}</td>
                    <td className="number">{whole(one.records)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        )}
      </Panel>
      <p className="quiet small span-12">
        The console keeps {whole(data.console.rows)} payments that were not approved, of the last {data.console.days} days; it is {span(data.console.behind_s)} behind the decisions
        {data.labels.honest_stopped.length > 0 && (
          <>
            . Declined and labelled genuine in {data.labels.window_days} d: <Sums sums={data.labels.honest_stopped} />
          </>
        )}
        {data.labels.honest_reviewed.length > 0 && (
          <>
            ; reviewed and labelled genuine: <Sums sums={data.labels.honest_reviewed} />
          </>
        )}
        .
      </p>
    </div>
  );
}

function Arm({ arm, version, share }: { arm: string; version: string | null; share: number | undefined }) {
  if (version === null) return null;
  return (
    <>
      <dt>{arm}</dt>
      <dd>
        {version}
        {share !== undefined && <span className="quiet"> {percent(share, 0)} of traffic</span>}
      </dd>
    </>
  );
}
