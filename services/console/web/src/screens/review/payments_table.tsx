import type { DecisionRow } from "../../api/types";
import { Money, Scroll, Tag, Time, Verdict } from "../../parts/basic";
import { score, words } from "../../parts/format";
import { decisionPath, Link } from "../../shell/router";
import { LabelState } from "./label_state";

export const keyOfRow = (row: { tenant: string; transaction_id: string }): string => `${row.tenant}/${row.transaction_id}`;

interface Picking {
  picked: ReadonlySet<string>;
  set: (picked: ReadonlySet<string>) => void;
}

/** Payments that were not approved, one a row. `at`: the row that the keyboard is on; `picking`: rows can be selected. */
export function PaymentsTable({ rows, at = -1, picking, tall = false }: { rows: DecisionRow[]; at?: number; picking?: Picking; tall?: boolean }) {
  const all = picking !== undefined && rows.length > 0 && rows.every((row) => picking.picked.has(keyOfRow(row)));
  const toggle = (key: string) => {
    const next = new Set(picking?.picked);
    if (!next.delete(key)) next.add(key);
    picking?.set(next);
  };
  return (
    <Scroll tall={tall}>
      <table>
        <thead>
          <tr>
            {picking && (
              <th>
                <input type="checkbox" aria-label="Select all" checked={all} onChange={() => picking.set(all ? new Set() : new Set(rows.map(keyOfRow)))} />
              </th>
            )}
            <th>Decided</th>
            <th>Payment</th>
            <th>Decision</th>
            <th className="number">Score</th>
            <th className="number">Amount</th>
            <th>Why</th>
            <th>Card</th>
            <th>Label</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => {
            const key = keyOfRow(row);
            return (
              <tr key={key} className="link" aria-selected={index === at || picking?.picked.has(key) || undefined}>
                {picking && (
                  <td>
                    <input type="checkbox" aria-label={`Select ${row.transaction_id}`} checked={picking.picked.has(key)} onChange={() => toggle(key)} />
                  </td>
                )}
                <td>
                  <Time at={row.decided_at} />
                </td>
                <td className="break">
                  <Link href={decisionPath(row.transaction_id, row.tenant)}>{row.transaction_id}</Link>
                </td>
                <td>
                  <Verdict name={row.decision} /> {row.status !== "scored" && <Tag tone="warn">{words(row.status)}</Tag>}
                </td>
                <td className="number">{row.score === null ? "–" : score(row.score)}</td>
                <td className="number">
                  <Money minor={row.amount_minor} currency={row.currency} />
                </td>
                <td className="soft">{row.reasons[0]?.text ?? ""}</td>
                <td className="break">
                  <Link href={`/decisions?card=${encodeURIComponent(row.card_id)}`}>{row.card_id}</Link>
                </td>
                <td>{row.label && <LabelState label={row.label} />}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}
