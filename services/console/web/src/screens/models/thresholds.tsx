/** Up to four versions on the same payments, and a threshold that is moved: what it would stop, how rightly, and what it would miss. */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get } from "../../api/client";
import { Answer, Button, Panel, Sums } from "../../parts/basic";
import { decimalsOf, money, number, percent, whole } from "../../parts/format";
import { Table } from "../../parts/table";

interface Effects {
  review: number;
  decline: number;
  stopped_per_day: number[];
  precision: (number | null)[];
  recall: (number | null)[];
  missed_minor: Record<string, number[]>;
}

interface Answered {
  rows: number;
  frauds: number;
  days: number;
  thresholds: number[];
  versions: Record<string, Effects>;
}

/** of one review, in units of the currency */
const REVIEW_COST = 3;

export function Thresholds({ versions, close }: { versions: string[]; close: () => void }) {
  const found = useQuery({
    queryKey: ["thresholds", ...versions],
    queryFn: ({ signal }) => get<Answered>("/models/thresholds", { version: versions }, signal),
    retry: false,
    staleTime: 300_000,
  });
  return (
    <Panel
      title={`Thresholds: ${versions.join(", ")}`}
      aside={
        <Button look="plain" onClick={close}>
          Close
        </Button>
      }
    >
      <Answer of={found} what="the versions on the same payments (some seconds)">
        {(data) => <Moved of={data} />}
      </Answer>
    </Panel>
  );
}

function Moved({ of }: { of: Answered }) {
  const names = Object.keys(of.versions);
  const first = of.versions[names[0] ?? ""];
  const nearest = (score: number) => of.thresholds.reduce((best, at, place) => (Math.abs(at - score) < Math.abs((of.thresholds[best] ?? 0) - score) ? place : best), 0);
  const [place, setPlace] = useState(() => nearest(first?.review ?? 0.5));
  const [cost, setCost] = useState(String(REVIEW_COST));
  const at = of.thresholds[place] ?? 0;
  const currencies = [...new Set(names.flatMap((name) => Object.keys(of.versions[name]?.missed_minor ?? {})))];
  const shown = at < 0.1 || at > 0.9 ? at.toFixed(3) : at.toFixed(2);
  return (
    <div className="stack">
      <p className="soft">
        {whole(of.rows)} labelled payments of {number(of.days, 3)} days that none of them has seen, {whole(of.frauds)} frauds. By the score alone, without rules and lists.
      </p>
      <div className="row wrap sliders">
        <label className="row grow">
          Stopped from a score of
          <input type="range" className="grow" min={0} max={of.thresholds.length - 1} value={place} aria-valuetext={shown} onChange={(event) => setPlace(Number(event.target.value))} />
          <output className="strong nowrap">{shown}</output>
        </label>
        <label className="row small soft">
          A review costs, {currencies.length === 1 ? currencies[0] : "in the payment's currency"}
          <input className="input" type="number" min={0} step={0.5} value={cost} onChange={(event) => setCost(event.target.value)} />
        </label>
      </div>
      <Table
        rows={names.map((name) => effectsAt(name, of, place, Math.max(0, Number(cost) || 0)))}
        keyOf={({ name }) => name}
        columns={[
          { name: "Version", heads: true, cell: ({ name }) => name },
          { name: "Stopped a day", look: "number", cell: ({ stopped }) => number(stopped, 3) },
          { name: "Precision", look: "number", cell: ({ precision }) => share(precision) },
          { name: "Frauds found", look: "number", cell: ({ recall }) => share(recall) },
          { name: "Missed a day", look: "number", cell: ({ missed }) => <Sums sums={missed} /> },
          { name: "Missed and reviews, a day", look: "number strong", cell: ({ whole: all }) => all ?? <span className="quiet">several currencies</span> },
          { name: "Its own thresholds", look: "number soft", cell: ({ own }) => own },
        ]}
      />
      <Curves of={of} names={names} place={place} move={setPlace} />
    </div>
  );
}

const share = (value: number | null | undefined) => (value === null || value === undefined ? "–" : percent(value, 1));

/** What a version does at one threshold, and what that costs where all is in one currency. */
function effectsAt(name: string, of: Answered, place: number, cost: number) {
  const found = of.versions[name];
  const days = Math.max(1, of.days);
  const missed = Object.entries(found?.missed_minor ?? {}).map(([currency, minor]) => ({ currency, minor: Math.round((minor[place] ?? 0) / days) }));
  const only = missed.length === 1 ? missed[0] : undefined;
  const stopped = found?.stopped_per_day[place] ?? 0;
  return {
    name,
    stopped,
    missed,
    precision: found?.precision[place],
    recall: found?.recall[place],
    whole: only && money(Math.round(only.minor + stopped * cost * 10 ** decimalsOf(only.currency)), only.currency),
    own: found ? `${found.review.toFixed(3)} / ${found.decline.toFixed(3)}` : "",
  };
}

const [WIDTH, HEIGHT, LEFT, BASE] = [640, 200, 40, 172];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];

/** Frauds found (thick) and precision (thin) by threshold, a dash a version; a click moves the threshold there. */
function Curves({ of, names, place, move }: { of: Answered; names: string[]; place: number; move: (place: number) => void }) {
  const steps = of.thresholds.length - 1;
  const x = (step: number) => LEFT + ((WIDTH - LEFT - 4) * step) / steps;
  const y = (share: number) => BASE - (BASE - 8) * share;
  const line = (values: (number | null)[]) =>
    values
      .map((value, step) => (value === null ? "" : `${step === 0 || values[step - 1] === null ? "M" : "L"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`))
      .join("");
  const ticks = [0.01, 0.1, 0.5, 0.9, 0.99].map((at) => ({ at, step: of.thresholds.findIndex((one) => one >= at) }));
  return (
    <figure className="shares-beside effects">
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={`Frauds found and precision of ${names.join(", ")} by threshold; the table above has the values at the threshold`}
        onClick={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          const at = ((event.clientX - box.left) / box.width) * WIDTH;
          move(Math.min(steps, Math.max(0, Math.round((steps * (at - LEFT)) / (WIDTH - LEFT - 4)))));
        }}
      >
        {[0, 0.5, 1].map((share) => (
          <g key={share}>
            <line x1={LEFT} x2={WIDTH} y1={y(share) + 0.5} y2={y(share) + 0.5} stroke="var(--line-soft)" />
            <text x={LEFT - 6} y={y(share) + 4} textAnchor="end">
              {percent(share, 0)}
            </text>
          </g>
        ))}
        {ticks.map(({ at, step }) => (
          <text key={at} x={x(step)} y={BASE + 18} textAnchor="middle">
            {at}
          </text>
        ))}
        {names.map((name, index) => (
          <g key={name} fill="none" strokeDasharray={DASHES[index]}>
            <path d={line(of.versions[name]?.recall ?? [])} stroke="var(--accent)" strokeWidth="2.5" />
            <path d={line(of.versions[name]?.precision ?? [])} stroke="var(--ink-2)" strokeWidth="1.25" />
          </g>
        ))}
        <line x1={x(place)} x2={x(place)} y1="4" y2={BASE} stroke="var(--ink)" strokeWidth="1" />
      </svg>
      <figcaption className="legend">
        <span>thick: frauds found · thin: precision · across: the threshold, by log-odds</span>
        {names.map((name, index) => (
          <span key={name}>
            <svg width="28" height="8" aria-hidden="true">
              <line x1="0" x2="28" y1="4" y2="4" stroke="var(--ink-2)" strokeWidth="2" strokeDasharray={DASHES[index]} />
            </svg>
            {name}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}
