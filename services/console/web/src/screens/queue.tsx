import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { get, part, post, Problem, put, queryText, remove } from "../api/client";
import { useLive } from "../api/live";
import { useMay } from "../api/session";
import type { DecisionRow, Label, LabelName, Lock, Payment } from "../api/types";
import { Button, Empty, Failed, Loading, Money, Sums, Tag, Time, Verdict } from "../parts/basic";
import { Dialog } from "../parts/dialog";
import { briefSpan, score, span, whole } from "../parts/format";
import { say, sayError } from "../parts/toasts";
import { useShortcuts } from "../shell/keyboard";
import { decisionPath, go, Link, useParam } from "../shell/router";
import { HandOver } from "./hand_over";
import { LabelState } from "./label_state";

const PAGE = 200;
const MAX_BULK = 500;
const RENEW_MS = 120_000;
const keyOfRow = (row: { tenant: string; transaction_id: string }): string => `${row.tenant}/${row.transaction_id}`;

interface Answer {
  rows: DecisionRow[];
  open: number;
  as_of: string;
}

function useFilters() {
  const [min_score, setScore] = useParam("min_score");
  const [rule, setRule] = useParam("rule");
  const [reason, setReason] = useParam("reason");
  const [currency, setCurrency] = useParam("currency");
  const [locked, setLocked] = useParam("locked", "any");
  const [tenant, setTenant] = useParam("tenant");
  const values = useMemo(
    // a currency that is being typed is none yet
    () => ({ min_score, rule, reason, currency: currency.length === 3 ? currency : "", locked, tenant }),
    [min_score, rule, reason, currency, locked, tenant],
  );
  return { values, currency, setScore, setRule, setReason, setCurrency, setLocked, setTenant };
}

/** What a person has done to rows since the list was read: it is shown at once, and the order stays. */
interface Changed {
  label?: Label | null;
  lock?: Lock | null;
}

export function Queue() {
  const filters = useFilters();
  const queries = useQueryClient();
  const label = useMay("label");
  const [changed, setChanged] = useState<Record<string, Changed>>({});
  const [taken, setTaken] = useState<DecisionRow[]>([]);
  const [chosen, setChosen] = useState<string | null>(null);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [handing, setHanding] = useState(false);
  const [bulk, setBulk] = useState<LabelName | null>(null);
  const [open, setOpen] = useState<number | null>(null);
  const search = useRef<HTMLInputElement>(null);

  const list = useInfiniteQuery({
    queryKey: ["queue", filters.values],
    queryFn: ({ pageParam, signal }) => get<Answer>("/queue", { ...filters.values, limit: PAGE, offset: pageParam }, signal),
    initialPageParam: 0,
    getNextPageParam: (last, pages) => (last.rows.length === PAGE ? pages.length * PAGE : undefined),
    // nothing moves under the cursor: the list is read again only when the person asks for it
    staleTime: Number.POSITIVE_INFINITY,
  });
  useLive("queue", useCallback((event: { open: number }) => setOpen(event.open), []));

  const rows = useMemo(() => {
    const seen = new Set<string>();
    return [...taken, ...(list.data?.pages.flatMap((page) => page.rows) ?? [])]
      .filter((row) => !seen.has(keyOfRow(row)) && seen.add(keyOfRow(row)))
      .map((row) => ({ ...row, ...changed[keyOfRow(row)] }));
  }, [list.data, taken, changed]);
  const at = rows.findIndex((row) => keyOfRow(row) === chosen);
  const row = rows[at] ?? null;
  const listed = list.data?.pages[0]?.open ?? 0;
  const fresh = open === null ? 0 : open - listed;

  const change = (key: string, what: Changed) => setChanged((known) => ({ ...known, [key]: { ...known[key], ...what } }));
  const move = (by: number) => {
    const to = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
    if (to) setChosen(keyOfRow(to));
  };
  const reload = () => {
    setChanged({});
    setTaken([]);
    setOpen(null);
    void queries.resetQueries({ queryKey: ["queue"] });
  };
  const next = async () => {
    try {
      const found = await post<DecisionRow | null>(`/queue/next${queryText({ ...filters.values, locked: null })}`);
      if (found === null) {
        say("Nothing is free: every review is labelled or held by a colleague.");
        return;
      }
      const known = rows.some((one) => keyOfRow(one) === keyOfRow(found));
      if (!known) setTaken((before) => [found, ...before]);
      change(keyOfRow(found), { lock: found.lock, label: found.label });
      setChosen(keyOfRow(found));
    } catch (error) {
      sayError(error);
    }
  };
  const give = async (name: LabelName) => {
    if (!row) return;
    if (!label.may) {
      say(label.why, { bad: true });
      return;
    }
    const key = keyOfRow(row);
    try {
      const made = await post<Label>(`/queue/${part(row.transaction_id)}/label`, { tenant: row.tenant, label: name, note: null });
      change(key, { label: made });
      say(`${row.transaction_id}: ${name === "fraud" ? "fraud" : "genuine"}`, {
        untilMs: made.sends_at ? new Date(made.sends_at).getTime() : undefined,
        undo: async () => {
          await remove(`/queue/${part(row.transaction_id)}/label`, { tenant: row.tenant });
          change(key, { label: null });
          setChosen(key);
        },
      });
      const after = rows.slice(at + 1).find((one) => one.label === null);
      if (after) setChosen(keyOfRow(after));
    } catch (error) {
      if (error instanceof Problem && error.lock) change(key, { lock: error.lock });
      sayError(error);
    }
  };
  const pick = (key: string) =>
    setPicked((known) => {
      const next = new Set(known);
      if (!next.delete(key)) next.add(key);
      return next;
    });

  useShortcuts({
    down: () => move(1),
    up: () => move(-1),
    open: () => row && go(decisionPath(row.transaction_id, row.tenant)),
    next: () => void next(),
    fraud: () => void give("fraud"),
    legit: () => void give("legit"),
    escalate: () => row && setHanding(true),
    select: () => chosen && pick(chosen),
    filter: () => search.current?.focus(),
  });
  useRenewal(row, (lock) => row && change(keyOfRow(row), { lock }));

  const pickedRows = rows.filter((one) => picked.has(keyOfRow(one)));
  return (
    <main id="screen" className="screen flush">
      <div className="queue">
        <div className="list">
          <div className="filters">
            <Button look="primary" shortcut="next" refused={label.may ? null : label.why} onClick={() => void next()}>
              Take next
            </Button>
            <label>
              Rule or list
              <input ref={search} className="input" size={9} value={filters.values.rule} onChange={(event) => filters.setRule(event.target.value)} />
            </label>
            <label>
              Reason
              <input className="input" size={9} placeholder="CODE" value={filters.values.reason} onChange={(event) => filters.setReason(event.target.value.toUpperCase())} />
            </label>
            <label>
              Score from
              <input className="input" type="number" min={0} max={1} step={0.05} value={filters.values.min_score} onChange={(event) => filters.setScore(event.target.value)} />
            </label>
            <label>
              Currency
              <input className="input" size={4} maxLength={3} value={filters.currency} onChange={(event) => filters.setCurrency(event.target.value.toUpperCase())} />
            </label>
            <label>
              Held
              <select className="input" value={filters.values.locked} onChange={(event) => filters.setLocked(event.target.value)}>
                <option value="any">by anybody</option>
                <option value="free">by nobody</option>
                <option value="mine">by me</option>
              </select>
            </label>
            <span className="grow right soft small">{list.data ? `${whole(listed)} wait` : ""}</span>
          </div>
          {(fresh !== 0 || picked.size > 0) && (
            <div className="announce" role="status">
              {picked.size > 0 ? (
                <>
                  <span className="grow">
                    {picked.size} selected, <Sums sums={sums(pickedRows)} />
                  </span>
                  <Button refused={label.may ? null : label.why} onClick={() => setBulk("fraud")}>
                    Fraud …
                  </Button>
                  <Button refused={label.may ? null : label.why} onClick={() => setBulk("legit")}>
                    Genuine …
                  </Button>
                  <Button look="plain" onClick={() => setPicked(new Set())}>
                    Clear
                  </Button>
                </>
              ) : (
                <>
                  <span className="grow">{fresh > 0 ? `${whole(fresh)} new since the list was read.` : "The list has changed since it was read."}</span>
                  <Button onClick={reload}>Read again</Button>
                </>
              )}
            </div>
          )}
          {list.isPending && <Loading what="the queue" />}
          {list.isError && rows.length === 0 && <Failed error={list.error} retry={() => void list.refetch()} />}
          {list.data && rows.length === 0 && (
            <Empty title="Nothing waits for review">{queryText(filters.values) === "?locked=any" ? "Reviews appear here seconds after their decision." : "Nothing fits these filters."}</Empty>
          )}
          {rows.length > 0 && <Rows rows={rows} chosen={chosen} choose={setChosen} picked={picked} pick={pick} total={listed} more={() => list.hasNextPage && !list.isFetching && void list.fetchNextPage()} />}
        </div>
        <aside className="brief" aria-label="The chosen payment">
          {row ? <Brief row={row} give={(name) => void give(name)} hand={() => setHanding(true)} may={label} /> : <Empty title="No payment is chosen">Take the next one with n, or choose one with j and k.</Empty>}
        </aside>
      </div>
      {row && <HandOver row={row} open={handing} close={() => setHanding(false)} done={(lock) => change(keyOfRow(row), { lock })} />}
      <Bulk
        name={bulk}
        rows={pickedRows}
        close={() => setBulk(null)}
        done={(made) => {
          for (const [key, given] of made) change(key, { label: given });
          setPicked(new Set());
        }}
        undone={(keys) => keys.forEach((key) => change(key, { label: null }))}
      />
    </main>
  );
}

/** Keeps a lock of mine while its payment is on screen. */
function useRenewal(row: DecisionRow | null, renewed: (lock: Lock | null) => void): void {
  const latest = useRef(renewed);
  latest.current = renewed;
  const mine = row?.lock?.mine && row.label === null;
  const id = row?.transaction_id;
  const tenant = row?.tenant;
  useEffect(() => {
    if (!mine || id === undefined) return;
    const timer = setInterval(() => {
      put<Lock>(`/queue/${part(id)}/lock`, { tenant })
        .then((lock) => latest.current(lock))
        .catch((error: unknown) => {
          if (error instanceof Problem && error.status === 409) latest.current(error.lock);
          sayError(error);
        });
    }, RENEW_MS);
    return () => clearInterval(timer);
  }, [mine, id, tenant]);
}

function sums(rows: DecisionRow[]) {
  const by = new Map<string, number>();
  for (const row of rows) if (row.currency && row.amount_minor !== null) by.set(row.currency, (by.get(row.currency) ?? 0) + row.amount_minor);
  return [...by].map(([currency, minor]) => ({ currency, minor }));
}

interface RowsProps {
  rows: DecisionRow[];
  chosen: string | null;
  choose: (key: string) => void;
  picked: ReadonlySet<string>;
  pick: (key: string) => void;
  total: number;
  more: () => void;
}

function Rows({ rows, chosen, choose, picked, pick, total, more }: RowsProps) {
  const place = useRef<HTMLDivElement>(null);
  const narrow = useNarrow();
  const height = narrow ? 73 : 33;
  const head = narrow ? 0 : 29;
  const list = useVirtualizer({ count: rows.length, getScrollElement: () => place.current, estimateSize: () => height, overscan: 12, paddingStart: head, scrollPaddingStart: head });
  useEffect(() => list.measure(), [list, height]);
  const at = rows.findIndex((row) => keyOfRow(row) === chosen);
  useEffect(() => {
    if (at >= 0) list.scrollToIndex(at, { align: "auto" });
  }, [at, list]);
  const items = list.getVirtualItems();
  const last = items[items.length - 1]?.index ?? 0;
  useEffect(() => {
    if (last >= rows.length - 20) more();
  }, [last, rows.length, more]);
  return (
    <div ref={place} className="rows" role="grid" aria-label="Reviews, the largest expected loss and longest wait first" aria-rowcount={Math.max(total, rows.length) + 1} tabIndex={0} aria-activedescendant={at >= 0 ? `row-${at}` : undefined}>
      <Sized height={list.getTotalSize()}>
        <div role="row" className="head" aria-rowindex={1}>
          <span role="columnheader" className="c-check">
            <span className="hidden-text">Selected</span>
          </span>
          <span role="columnheader" className="right">
            Expected loss
          </span>
          <span role="columnheader" className="right">
            Amount
          </span>
          <span role="columnheader" className="right">
            Score
          </span>
          <span role="columnheader">Why</span>
          <span role="columnheader">Card</span>
          <span role="columnheader" className="right">
            Waits
          </span>
          <span role="columnheader">State</span>
        </div>
        {items.map((item) => {
          const row = rows[item.index];
          if (!row) return null;
          const key = keyOfRow(row);
          return (
            <Placed
              key={key}
              top={item.start}
              id={`row-${item.index}`}
              index={item.index}
              selected={key === chosen}
              done={row.label !== null}
              choose={() => choose(key)}
              open={() => go(decisionPath(row.transaction_id, row.tenant))}
            >
              <span role="gridcell" className="c-check">
                <input type="checkbox" tabIndex={-1} aria-label={`Select ${row.transaction_id}`} checked={picked.has(key)} onChange={() => pick(key)} />
              </span>
              <span role="gridcell" className="c-loss right strong">
                <Money minor={row.expected_loss_minor} currency={row.currency} />
              </span>
              <span role="gridcell" className="c-amount right">
                <Money minor={row.amount_minor} currency={row.currency} />
              </span>
              <span role="gridcell" className="c-score right">
                {row.score === null ? "–" : score(row.score)}
              </span>
              <span role="gridcell" className="c-reason cut">
                {row.reasons.map((reason) => reason.text).join(" · ") || "nothing stood out"}
              </span>
              <span role="gridcell" className="c-card cut soft">
                {row.card_id}
              </span>
              <span role="gridcell" className="c-age right soft nowrap" title={span(row.age_s)}>
                {briefSpan(row.age_s)}
              </span>
              <span role="gridcell" className="c-state cut">
                {row.label ? <LabelState label={row.label} /> : row.lock ? <Tag tone={row.lock.mine ? "accent" : ""}>{row.lock.mine ? "yours" : row.lock.owner}</Tag> : null}
              </span>
            </Placed>
          );
        })}
      </Sized>
    </div>
  );
}

/** As tall as all rows together, of which only those in sight exist. */
function Sized({ height, children }: { height: number; children: React.ReactNode }) {
  return (
    <div role="presentation" style={{ height, position: "relative" }}>
      {children}
    </div>
  );
}

interface PlacedProps {
  top: number;
  id: string;
  index: number;
  selected: boolean;
  done: boolean;
  choose: () => void;
  open: () => void;
  children: React.ReactNode;
}

function Placed({ top, id, index, selected, done, choose, open, children }: PlacedProps) {
  const narrow = useNarrow();
  return (
    <div role="row" id={id} className={`item ${done ? "done" : ""}`} aria-rowindex={index + 2} aria-selected={selected} style={{ transform: `translateY(${top}px)` }} onClick={narrow ? open : choose} onDoubleClick={open}>
      {children}
    </div>
  );
}

const small = matchMedia("(max-width: 760px)");
function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(small.matches);
  useEffect(() => {
    const changed = () => setNarrow(small.matches);
    small.addEventListener("change", changed);
    return () => small.removeEventListener("change", changed);
  }, []);
  return narrow;
}

function Brief({ row, give, hand, may }: { row: DecisionRow; give: (name: LabelName) => void; hand: () => void; may: { may: boolean; why: string } }) {
  const card = useQuery({
    queryKey: ["timeline", row.tenant, row.transaction_id, 8],
    queryFn: ({ signal }) => get<{ rows: Payment[] }>(`/decisions/${part(row.transaction_id)}/timeline`, { tenant: row.tenant, limit: 8 }, signal),
    staleTime: 60_000,
  });
  const foreign = row.lock && !row.lock.mine ? `${row.lock.owner} holds it until ${new Date(row.lock.until).toLocaleTimeString("en-GB")}.` : null;
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
          <table className="small">
            <tbody>
              {card.data.rows.map((payment) => (
                <tr key={payment.transaction_id} aria-selected={payment.this}>
                  <td>
                    <Time at={payment.event_time} />
                  </td>
                  <td>
                    <Verdict name={payment.decision} />
                  </td>
                  <td className="number">
                    <Money minor={payment.amount_minor} currency={payment.currency} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <p className="soft">{card.isError ? "They could not be loaded." : "Loading …"}</p>
        )}
      </section>
    </div>
  );
}

interface BulkProps {
  name: LabelName | null;
  rows: DecisionRow[];
  close: () => void;
  done: (made: [string, Label][]) => void;
  undone: (keys: string[]) => void;
}

interface BulkAnswer {
  accepted: string[];
  refused: { transaction_id: string; reason: string }[];
  sends_at: string;
}

/** The count and the money first, then one label for all of them. */
function Bulk({ name, rows, close, done, undone }: BulkProps) {
  const [busy, setBusy] = useState(false);
  const word = name === "fraud" ? "fraud" : "genuine";
  const act = async () => {
    if (name === null) return;
    setBusy(true);
    try {
      const answer = await post<BulkAnswer>("/queue/label", { items: rows.map(({ tenant, transaction_id }) => ({ tenant, transaction_id })), label: name });
      const taken = new Set(answer.accepted);
      const accepted = rows.filter((row) => taken.has(row.transaction_id));
      const made: Label = { label: name, by: null, source: "analyst", at: new Date().toISOString(), state: "waiting", sends_at: answer.sends_at };
      done(accepted.map((row) => [keyOfRow(row), made]));
      const refused = answer.refused.length > 0 ? `; ${answer.refused.length} refused: ${answer.refused[0]?.reason ?? ""}` : "";
      say(`${accepted.length} labelled as ${word}${refused}`, {
        untilMs: new Date(answer.sends_at).getTime(),
        undo: async () => {
          for (const row of accepted) await remove(`/queue/${part(row.transaction_id)}/label`, { tenant: row.tenant });
          undone(accepted.map(keyOfRow));
        },
      });
      close();
    } catch (error) {
      sayError(error);
    } finally {
      setBusy(false);
    }
  };
  const tooMany = rows.length > MAX_BULK ? `At most ${MAX_BULK} at once.` : null;
  return (
    <Dialog title={`Label ${rows.length} payments as ${word}?`} open={name !== null} close={close}>
      <p className="soft">
        Together <Sums sums={sums(rows)} />. They can be undone for 10 seconds, then the labels are sent.
      </p>
      {tooMany && <p className="message warn">{tooMany}</p>}
      <div className="actions">
        <Button onClick={close}>Cancel</Button>
        <Button look={name === "fraud" ? "danger" : "primary"} refused={tooMany ?? (busy ? "It is being carried out." : null)} onClick={() => void act()}>
          Label {rows.length} as {word}
        </Button>
      </div>
    </Dialog>
  );
}
