import { useQuery } from "@tanstack/react-query";
import { get, part } from "../../api/client";
import type { Payment } from "../../api/types";
import { Empty, Money, Panel, Tag, Time } from "../../parts/basic";
import { span } from "../../parts/format";
import { Listed } from "../../parts/table";
import { decisionPath, Link } from "../../shell/router";
import { LABEL_WORDS } from "../review/labelling";
import { PAYMENT } from "../review/payments_table";
import type { Of } from "./decision";

interface Answered {
  rows: Payment[];
  from: string;
}

export function Timeline({ id, tenant }: Omit<Of, "whole">) {
  const found = useQuery({
    queryKey: ["timeline", tenant, id, 100],
    queryFn: ({ signal }) => get<Answered>(`/decisions/${part(id)}/timeline`, { tenant, limit: 100 }, signal),
    staleTime: 60_000,
  });
  return (
    <Panel className="span-7" title="The card's payments" aside={<span className="quiet small">{found.data ? `${found.data.rows.length} around this one, newest first` : ""}</span>} bare>
      {found.data && <Dots rows={found.data.rows} />}
      <Listed<Answered, Payment>
        of={found}
        what="the card's payments"
        rows={(data) => data.rows}
        empty={<Empty title="No other payment is kept" />}
        keyOf={(row) => row.transaction_id}
        selected={(row) => row.this}
        link
        tall
        columns={[
          {
            name: "Time",
            cell: (row) =>
              row.this ? (
                <Time at={row.event_time} />
              ) : (
                <Link href={decisionPath(row.transaction_id, tenant)}>
                  <Time at={row.event_time} />
                </Link>
              ),
          },
          PAYMENT.verdict,
          PAYMENT.amount,
          PAYMENT.score,
          { name: "Merchant", look: "break", cell: (row) => row.merchant_id ?? "–" },
          { name: "Label", cell: (row) => row.label && <Tag tone={row.label === "fraud" ? "bad" : "good"}>{LABEL_WORDS[row.label]}</Tag> },
        ]}
      />
    </Panel>
  );
}

/** Amount over time, one mark a payment: shape and colour by decision. */
function Dots({ rows }: { rows: Payment[] }) {
  const known = rows.filter((row) => row.amount_minor !== null);
  if (known.length < 3) return null;
  const times = known.map((row) => new Date(row.event_time).getTime());
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const most = Math.max(...known.map((row) => row.amount_minor ?? 0), 1);
  const x = (time: number) => 8 + (584 * (time - first)) / Math.max(1, last - first);
  const y = (minor: number) => 60 - (50 * minor) / most;
  return (
    <figure className="dots">
      <svg viewBox="0 0 600 72" role="img" aria-label={`Amounts of ${known.length} payments over ${span((last - first) / 1000)}`}>
        <line x1="0" x2="600" y1="60.5" y2="60.5" stroke="var(--line-strong)" />
        {known.map((row, at) => {
          const [cx, cy] = [x(times[at] ?? 0), y(row.amount_minor ?? 0)];
          const size = row.this ? 5 : 3.5;
          const fill = `var(--${row.decision}-fill)`;
          return row.decision === "approve" ? (
            <circle key={row.transaction_id} cx={cx} cy={cy} r={size} fill="none" stroke={row.this ? "var(--ink)" : fill} strokeWidth="1.5" />
          ) : row.decision === "review" ? (
            <path key={row.transaction_id} d={`M${cx} ${cy - size - 1}l${size + 1} ${size + 1}-${size + 1} ${size + 1}-${size + 1}-${size + 1}Z`} fill={fill} stroke={row.this ? "var(--ink)" : "none"} />
          ) : (
            <rect key={row.transaction_id} x={cx - size} y={cy - size} width={2 * size} height={2 * size} fill={fill} stroke={row.this ? "var(--ink)" : "none"} />
          );
        })}
      </svg>
      <figcaption className="row apart quiet small">
        <Time at={new Date(first).toISOString()} />
        <span>
          amount, up to <Money minor={most} currency={known[0]?.currency ?? null} />
        </span>
        <Time at={new Date(last).toISOString()} />
      </figcaption>
    </figure>
  );
}
