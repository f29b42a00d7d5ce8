import type { Hits } from "../../api/types";
import { whole } from "../../parts/format";

/** How often a rule or list matched payments that were not approved, and what these were. */
export function HitHeads() {
  return (
    <>
      <th className="number">24 h</th>
      <th className="number">7 d</th>
      <th className="number">Fraud</th>
      <th className="number">Genuine</th>
      <th className="number">Open</th>
    </>
  );
}

export function HitCells({ hits }: { hits: Hits | undefined }) {
  return (
    <>
      {(["day", "week", "fraud", "legit", "open"] as const).map((name) => (
        <td key={name} className="number">
          {hits ? whole(hits[name]) : "–"}
        </td>
      ))}
    </>
  );
}
