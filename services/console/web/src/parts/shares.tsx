/** Two distributions over the same bins, side by side: what was, and what is. */

import { percent } from "./format";

interface Props {
  title: string;
  /** what each bin holds, in words */
  bins: string[];
  before: { name: string; shares: number[] };
  after: { name: string; shares: number[] };
}

const [WIDTH, HEIGHT, BASE] = [640, 168, 140];

export function SharesBeside({ title, bins, before, after }: Props) {
  const most = Math.max(0.01, ...before.shares, ...after.shares);
  const step = WIDTH / Math.max(1, bins.length);
  const bar = Math.min(24, step * 0.36);
  const y = (share: number) => BASE - ((BASE - 16) * share) / most;
  return (
    <figure className="shares-beside">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${title}: ${bins.map((bin, at) => `${bin}: ${percent(before.shares[at] ?? 0, 1)} ${before.name}, ${percent(after.shares[at] ?? 0, 1)} ${after.name}`).join("; ")}`}>
        <line x1="0" x2={WIDTH} y1={BASE + 0.5} y2={BASE + 0.5} stroke="var(--line-strong)" />
        <line x1="0" x2={WIDTH} y1={y(most) + 0.5} y2={y(most) + 0.5} stroke="var(--line-soft)" />
        <text x="0" y="12">
          {percent(most, 0)}
        </text>
        {bins.map((bin, at) => {
          const middle = (at + 0.5) * step;
          return (
            <g key={bin}>
              <title>{`${bin}: ${percent(before.shares[at] ?? 0, 1)} ${before.name}, ${percent(after.shares[at] ?? 0, 1)} ${after.name}`}</title>
              <rect x={middle - bar - 1} width={bar} y={y(before.shares[at] ?? 0)} height={BASE - y(before.shares[at] ?? 0)} className="before" />
              <rect x={middle + 1} width={bar} y={y(after.shares[at] ?? 0)} height={BASE - y(after.shares[at] ?? 0)} className="after" />
              <text x={middle} y={BASE + 18} textAnchor="middle">
                {bin}
              </text>
            </g>
          );
        })}
      </svg>
      <figcaption className="legend">
        <span>
          <i className="before" />
          {before.name}
        </span>
        <span>
          <i className="after" />
          {after.name}
        </span>
      </figcaption>
    </figure>
  );
}
