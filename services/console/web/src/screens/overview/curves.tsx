import { useQuery } from "@tanstack/react-query";
import { useCallback, useMemo, useState } from "react";
import { get } from "../../api/client";
import { useLive } from "../../api/live";
import type { Second, Series } from "../../api/types";
import { Empty, Failed, Panel, Segments } from "../../parts/basic";
import { Chart } from "../../parts/chart";
import { number, percent, span, whole } from "../../parts/format";
import { useParam } from "../../shell/router";

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

interface Window {
  seconds: number;
  step: number;
  past: string;
}

export function Curves() {
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
      <p className="soft span-12">{summary(drawn, step)}</p>
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

/** The window's decisions in words. */
function summary({ t, all, stopped, missing, latency }: ReturnType<typeof columns>, step: number): string {
  const sum = (curve: { values: (number | null)[] } | undefined) => Math.round((curve?.values ?? []).reduce<number>((total, rate) => total + (rate ?? 0) * step, 0));
  const decisions = sum(all[0]);
  const [review, decline] = [sum(stopped[0]), sum(stopped[1])];
  const share = (count: number) => percent(count / Math.max(1, decisions), 2);
  const slowest = Math.max(0, ...(latency[0]?.values ?? []).map((value) => value ?? 0));
  return (
    `${whole(decisions)} decisions in this window, ${number(decisions / Math.max(1, t.length * step), 3)} a second: ${share(review)} reviewed, ${share(decline)} declined; ` +
    `${whole(sum(missing[0]))} degraded, ${whole(sum(missing[1]))} not scored; p99 ${step === 1 ? "of the slowest second" : `of the slowest ${span(step)}`} ${number(slowest, 3)} ms.`
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
