import type { ReactNode } from "react";
import type { DecisionRow, DecisionWhole } from "../../api/types";
import { Money, Time } from "../../parts/basic";
import { words } from "../../parts/format";
import { Link } from "../../shell/router";
import { decisionsPath, FIELDS, KINDS, linksPath } from "../case/entity";

const NAMES = { card: "Card", device: "Device", ip: "Address", merchant: "Merchant", customer: "Customer" } as const;

export function PaymentPairs({ whole }: { whole: DecisionWhole }) {
  const { decision, transaction, row } = whole;
  const value = (name: string): string | null => {
    const found = transaction?.[name] ?? row?.[name as keyof DecisionRow];
    return found === null || found === undefined ? null : String(found);
  };
  const amount = value("amount_minor");
  const rest = Object.entries(transaction ?? {}).filter(([name, found]) => !SHOWN.has(name) && found !== null);
  return (
    <dl className="pairs">
      <dt>Amount</dt>
      <dd className="strong">
        <Money minor={amount === null ? null : Number(amount)} currency={value("currency")} />
      </dd>
      <dt>Time</dt>
      <dd>
        <Time at={decision.event_time} />
      </dd>
      {KINDS.map((kind) => {
        const id = value(FIELDS[kind]);
        if (id === null) return null;
        return (
          <Pair key={kind} name={NAMES[kind]}>
            <span className="row apart">
              <Link href={decisionsPath({ kind, id }, decision.tenant)}>{id}</Link>
              <Link className="small" aria-label={`Links of ${id}`} href={linksPath({ kind, id }, decision.tenant)}>
                links
              </Link>
            </span>
          </Pair>
        );
      })}
      <Pair name="Channel">{[value("channel"), value("country"), value("mcc") && `MCC ${value("mcc")}`].filter(Boolean).join(", ") || "–"}</Pair>
      {rest.map(([name, found]) => (
        <Pair key={name} name={words(name)}>
          {typeof found === "object" ? JSON.stringify(found) : String(found)}
        </Pair>
      ))}
    </dl>
  );
}

const SHOWN = new Set(["transaction_id", "tenant", "event_time", "amount_minor", "currency", "channel", "country", "mcc", ...Object.values(FIELDS)]);

function Pair({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}
