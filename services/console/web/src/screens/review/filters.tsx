import { type ReactNode, type RefObject, useMemo } from "react";
import { useParam } from "../../shell/router";

/** What the queue is narrowed to. It stands in the address, so a bookmark keeps it and a link shares it. */
export function useFilters() {
  const [min_score, setScore] = useParam("min_score");
  const [rule, setRule] = useParam("rule");
  const [reason, setReason] = useParam("reason");
  const [currency, setCurrency] = useParam("currency");
  const [locked, setLocked] = useParam("locked", "any");
  const [tenant] = useParam("tenant");
  const values = useMemo(
    // a currency that is being typed is none yet
    () => ({ min_score, rule, reason, currency: currency.length === 3 ? currency : "", locked, tenant }),
    [min_score, rule, reason, currency, locked, tenant],
  );
  const narrowed = [min_score, rule, reason, currency, tenant].some(Boolean) || locked !== "any";
  return { values, narrowed, currency, setScore, setRule, setReason, setCurrency, setLocked };
}

interface BarProps {
  filters: ReturnType<typeof useFilters>;
  /** the field that the key for filters leads to */
  first: RefObject<HTMLInputElement | null>;
  waits: string;
  children: ReactNode;
}

export function FilterBar({ filters, first, waits, children }: BarProps) {
  const { values } = filters;
  return (
    <div className="filters">
      {children}
      <label>
        Rule or list
        <input ref={first} className="input" size={9} value={values.rule} onChange={(event) => filters.setRule(event.target.value)} />
      </label>
      <label>
        Reason
        <input className="input" size={9} placeholder="CODE" value={values.reason} onChange={(event) => filters.setReason(event.target.value.toUpperCase())} />
      </label>
      <label>
        Score from
        <input className="input" type="number" min={0} max={1} step={0.05} value={values.min_score} onChange={(event) => filters.setScore(event.target.value)} />
      </label>
      <label>
        Currency
        <input className="input" size={4} maxLength={3} value={filters.currency} onChange={(event) => filters.setCurrency(event.target.value.toUpperCase())} />
      </label>
      <label>
        Held
        <select className="input" value={values.locked} onChange={(event) => filters.setLocked(event.target.value)}>
          <option value="any">by anybody</option>
          <option value="free">by nobody</option>
          <option value="mine">by me</option>
        </select>
      </label>
      <span className="grow right soft small">{waits}</span>
    </div>
  );
}
