import type { Money, Overview } from "../../api/types";
import { Figure, Sums } from "../../parts/basic";
import { briefSpan, number, shortMoney, whole } from "../../parts/format";
import { Link } from "../../shell/router";

export function Problems({ data }: { data: Overview }) {
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

export function Figures({ data }: { data: Overview }) {
  const now = data.last_minute;
  const share = (count: number) => (now.decisions ? number((100 * count) / now.decisions, 2) : "–");
  return (
    <dl className="figures">
      <Figure name="Decisions" value={number(now.per_s, 4)} unit="/ s" note="mean of the last minute" />
      <Figure name="Latency p99" value={now.p99_ms === null ? "–" : number(now.p99_ms, 3)} unit="ms" note={now.p50_ms === null ? "no decision in the last minute" : `p50 ${number(now.p50_ms, 3)} ms`} />
      <Figure name="Reviewed · declined" value={now.decisions ? `${share(now.review)} · ${share(now.decline)}` : "–"} unit="%" note={`${whole(now.review)} and ${whole(now.decline)} in a minute`} />
      <Figure name="Degraded · unscored" value={`${whole(now.degraded)} · ${whole(now.not_scored)}`} note="in the last minute" />
      <Figure
        name="Waiting for review"
        value={<Link href="/queue">{whole(data.queue.open)}</Link>}
        note={data.queue.oldest_age_s === null ? "nothing waits" : `${data.queue.late > 0 ? `${whole(data.queue.late)} late, ` : ""}oldest ${briefSpan(data.queue.oldest_age_s)}; ${firstOf(data.queue.expected_loss)} at stake`}
      />
      <Figure name="Fraud stopped" value={<Short sums={data.labels.caught} />} note={`labelled as fraud, last ${data.labels.window_days} d`} />
      <Figure name="Fraud lost" value={<Short sums={data.labels.missed} />} note={`approved, labelled later, last ${data.labels.window_days} d`} />
    </dl>
  );
}

const firstOf = (sums: Money[]) => {
  const largest = [...sums].sort((a, b) => b.minor - a.minor)[0];
  if (!largest) return "0";
  const { value, currency } = shortMoney(largest.minor, largest.currency);
  return `${value} ${currency}${sums.length > 1 ? ` and ${sums.length - 1} more` : ""}`;
};

/** The largest sum, compact; all of them when pointed at. */
function Short({ sums }: { sums: Money[] }) {
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
