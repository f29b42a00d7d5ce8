/** The chosen payment beside the queue: what an analyst needs to decide, and no more. */

import { useQuery } from "@tanstack/react-query";
import { get, part } from "../../api/client";
import type { DecisionRow, LabelName, Payment } from "../../api/types";
import { Button, Money, Tag, Time, Verdict } from "../../parts/basic";
import { moment, score } from "../../parts/format";
import { Table } from "../../parts/table";
import { decisionPath, Link } from "../../shell/router";
import { LabelState } from "./label_state";
import { PAYMENT } from "./payments_table";

export function Brief({ row, give, hand, may }: { row: DecisionRow; give: (name: LabelName) => void; hand: () => void; may: { may: boolean; why: string } }) {
  const card = useQuery({
    queryKey: ["timeline", row.tenant, row.transaction_id, 8],
    queryFn: ({ signal }) => get<{ rows: Payment[] }>(`/decisions/${part(row.transaction_id)}/timeline`, { tenant: row.tenant, limit: 8 }, signal),
    staleTime: 60_000,
  });
  const foreign = row.lock && !row.lock.mine ? `${row.lock.owner} holds it until ${moment(new Date(row.lock.until), new Date())}.` : null;
  const refused = may.may ? (row.label ? "It is labelled already." : foreign) : may.why;
  return (
    <div className="stack">
      <div>
        <div className="row apart">
          <Verdict name={row.decision} />
          <Link href={decisionPath(row.transaction_id, row.tenant)}>Whole decision</Link>
        </div>
        <p className="strong break">{row.transaction_id}</p>
      </div>
      <dl className="figures">
        <div className="figure">
          <dt>Amount</dt>
          <dd className="strong">
            <Money minor={row.amount_minor} currency={row.currency} />
          </dd>
        </div>
        <div className="figure">
          <dt>Expected loss</dt>
          <dd className="strong">
            <Money minor={row.expected_loss_minor} currency={row.currency} />
          </dd>
        </div>
        <div className="figure">
          <dt>Score</dt>
          <dd className="strong">{score(row.score)}</dd>
        </div>
      </dl>
      <div className="row wrap">
        <Button look="danger" shortcut="fraud" refused={refused} onClick={() => give("fraud")}>
          Fraud
        </Button>
        <Button shortcut="legit" refused={refused} onClick={() => give("legit")}>
          Genuine
        </Button>
        <Button look="plain" shortcut="escalate" refused={may.may ? foreign : may.why} onClick={hand}>
          Hand over
        </Button>
      </div>
      {row.label && (
        <p className="message">
          <LabelState label={row.label} />
        </p>
      )}
      {foreign && <p className="message warn">{foreign}</p>}
      <section>
        <h2>Why</h2>
        <ul className="reasons-plain">
          {row.reasons.slice(0, 3).map((reason) => (
            <li key={reason.code}>{reason.text}</li>
          ))}
          {row.rules.map((rule) => (
            <li key={rule}>
              <Tag>{rule}</Tag>
            </li>
          ))}
          {row.degraded_by.length > 0 && <li className="soft">without: {row.degraded_by.join(", ")}</li>}
        </ul>
      </section>
      <section>
        <h2>Payment</h2>
        <dl className="pairs">
          <dt>Card</dt>
          <dd>
            <Link href={`/decisions?card=${part(row.card_id)}`}>{row.card_id}</Link>
          </dd>
          <dt>Merchant</dt>
          <dd>{row.merchant_id ?? "–"}</dd>
          <dt>Channel</dt>
          <dd>{[row.channel, row.country].filter(Boolean).join(", ") || "–"}</dd>
          <dt>Device</dt>
          <dd>{row.device_id ?? "–"}</dd>
          <dt>Address</dt>
          <dd>{row.ip ?? "–"}</dd>
          <dt>Time</dt>
          <dd>
            <Time at={row.event_time} />
          </dd>
        </dl>
      </section>
      <section>
        <h2>The card's last payments</h2>
        {card.data ? (
          <Table rows={card.data.rows} keyOf={(payment) => payment.transaction_id} selected={(payment) => payment.this} columns={[{ name: "Time", cell: (payment) => <Time at={payment.event_time} /> }, PAYMENT.verdict, PAYMENT.amount]} />
        ) : (
          <p className="soft">{card.isError ? "They could not be loaded." : "Loading …"}</p>
        )}
      </section>
    </div>
  );
}
