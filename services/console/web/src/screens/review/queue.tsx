import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { get, part, post, Problem, put, queryText, remove } from "../../api/client";
import { useLive } from "../../api/live";
import { useMay } from "../../api/session";
import type { DecisionRow, Label, LabelName, Lock } from "../../api/types";
import { Button, Empty, Failed, Loading, Sums } from "../../parts/basic";
import { whole } from "../../parts/format";
import { sumsOf } from "../../parts/sums";
import { say, sayError } from "../../parts/toasts";
import { useShortcuts } from "../../shell/keyboard";
import { decisionPath, go, useParam } from "../../shell/router";
import { Brief } from "./brief";
import { Bulk } from "./bulk";
import { HandOver } from "./hand_over";
import { keyOfRow } from "./payments_table";
import { Rows } from "./rows";

const PAGE = 200;
const RENEW_MS = 120_000;

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
                    {picked.size} selected, <Sums sums={sumsOf(pickedRows)} />
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
      {row && handing && <HandOver row={row} close={() => setHanding(false)} done={(lock) => change(keyOfRow(row), { lock })} />}
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
