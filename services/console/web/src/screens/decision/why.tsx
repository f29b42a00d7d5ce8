/** Why a payment was decided as it was: reasons, the score beside its thresholds, rules and lists that matched. */

import { part } from "../../api/client";
import type { DecisionWhole } from "../../api/types";
import { number, score } from "../../parts/format";
import { Table } from "../../parts/table";
import { Link } from "../../shell/router";

export function Reasons({ whole }: { whole: DecisionWhole }) {
  const { reasons } = whole.decision;
  const largest = Math.max(0.1, ...reasons.map((reason) => Math.abs(reason.contribution ?? 0)));
  if (reasons.length === 0) return <p className="soft">Nothing stood out.</p>;
  return (
    <ul className="reasons">
      {reasons.map((reason, at) => {
        const push = reason.contribution;
        return (
          <li key={reason.code + String(at)}>
            <span>
              {reason.text} <span className="quiet small mono break">{reason.code}</span>
            </span>
            {push === undefined || push === null ? (
              <span className="quiet small span-2">decides by itself</span>
            ) : (
              <>
                <span className="lever" aria-hidden="true">
                  <span className={push < 0 ? "down" : ""} style={{ width: `${(50 * Math.abs(push)) / largest}%`, left: push < 0 ? undefined : "50%", right: push < 0 ? "50%" : undefined }} />
                </span>
                <span className="right" title="log-odds that this adds to the score">
                  {push > 0 ? "+" : "−"}
                  {Math.abs(push).toFixed(2)}
                </span>
              </>
            )}
          </li>
        );
      })}
    </ul>
  );
}

/** Where a score stands between 0 and 1: by its log-odds, because thresholds lie close to 0 and to 1. */
function logOdds(score: number): number {
  const within = Math.min(0.999, Math.max(0.001, score));
  return Math.log(within / (1 - within)) / Math.log(999) / 2 + 0.5;
}

/** The score beside the thresholds that it was compared with. */
export function Gauge({ score: at, review, decline }: { score: number; review: number; decline: number }) {
  const x = (value: number) => 4 + 592 * logOdds(value);
  const distance = at >= decline ? `${(at - decline).toFixed(4)} above decline` : at >= review ? `${(decline - at).toFixed(4)} below decline` : `${(review - at).toFixed(4)} below review`;
  return (
    <figure className="gauge-figure">
      <svg className="gauge" viewBox="0 0 600 44" preserveAspectRatio="none" role="img" aria-label={`Score ${score(at)}; review from ${review.toFixed(4)}, decline from ${decline.toFixed(4)}`}>
        <rect x={x(0)} y="18" width={x(review) - x(0)} height="8" fill="var(--approve-fill)" opacity="0.35" />
        <rect x={x(review)} y="18" width={Math.max(0, x(decline) - x(review))} height="8" fill="var(--review-fill)" opacity="0.45" />
        <rect x={x(decline)} y="18" width={Math.max(0, x(1) - x(decline))} height="8" fill="var(--decline-fill)" opacity="0.45" />
        <rect x={x(at) - 1.5} y="10" width="3" height="24" fill="var(--ink)" />
      </svg>
      <figcaption className="row wrap apart small soft">
        <span>
          score <span className="strong">{score(at)}</span>, {distance}
        </span>
        <span>
          review from {review.toFixed(4)} · decline from {decline.toFixed(4)} <span className="quiet">(drawn by log-odds)</span>
        </span>
      </figcaption>
    </figure>
  );
}

export function MatchedTable({ whole }: { whole: DecisionWhole }) {
  const shown = (value: string | number | null) => (value === null ? "unknown" : typeof value === "number" ? number(value, 7) : value);
  return (
    <Table
      rows={whole.matched}
      keyOf={({ name }) => name}
      columns={[
        { name: "Name", heads: true, cell: ({ name }) => <Link href={`/rules?name=${part(name)}`}>{name}</Link> },
        { name: "Action", cell: ({ kind }) => kind ?? <span className="quiet">not in this policy</span> },
        { name: "Condition", look: "mono break", cell: ({ when }) => when ?? "–" },
        { name: "Values then", look: "mono break", cell: ({ values }) => Object.entries(values).map(([name, value]) => `${name} = ${shown(value)}`).join(", ") || "–" },
        { name: "Owner and reason", look: "soft", cell: ({ owner, reason }) => [owner, reason].filter(Boolean).join(": ") || "–" },
      ]}
    />
  );
}
