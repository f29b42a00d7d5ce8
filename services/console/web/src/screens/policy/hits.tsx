import type { Hits } from "../../api/types";
import { percent, whole } from "../../parts/format";
import type { Column } from "../../parts/table";

const Z = 1.96;

/** The share of frauds among labelled payments, with Wilson's interval of 95 %; null while none is labelled. */
export function precisionOf({ fraud, legit }: { fraud: number; legit: number }): { share: number; low: number; high: number } | null {
  const n = fraud + legit;
  if (n === 0) return null;
  const share = fraud / n;
  const middle = (share + (Z * Z) / (2 * n)) / (1 + (Z * Z) / n);
  const half = (Z / (1 + (Z * Z) / n)) * Math.sqrt((share * (1 - share)) / n + (Z * Z) / (4 * n * n));
  return { share, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

function Precision({ hits }: { hits: Hits }) {
  const found = precisionOf(hits);
  if (found === null) return <span className="quiet">no label yet</span>;
  return (
    <span title={`${whole(hits.fraud)} frauds of ${whole(hits.fraud + hits.legit)} labelled payments; 95 of 100 such intervals hold the true share`}>
      {percent(found.share, 0)}
      <br />
      <span className="quiet small">{percent(found.low, 0).replace(" %", "")} to {percent(found.high, 0)}</span>
    </span>
  );
}

const NAMES = { day: "24 h", week: "7 d", approved: "Approved", fraud: "Fraud", legit: "Genuine", open: "Open" } as const;

/** How often a rule or list matched, and what the payments of the last seven days were that were not approved. */
export function hitColumns<Row extends { hits?: Hits }>(): Column<Row>[] {
  const counts = (Object.keys(NAMES) as (keyof typeof NAMES)[]).map((name) => ({ name: NAMES[name], look: "number", cell: ({ hits }: Row) => (hits ? whole(hits[name]) : "–") }));
  return [...counts, { name: "Precision", look: "number", cell: ({ hits }: Row) => hits && <Precision hits={hits} /> }];
}
