import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useRef, useState } from "react";
import { get, Problem, queryText } from "../../api/client";
import { useMay } from "../../api/session";
import type { DecisionRow, Label, LabelName, Lock, QueueAnswer } from "../../api/types";
import { Button, Empty, Failed, Loading, Sums } from "../../parts/basic";
import { whole } from "../../parts/format";
import { sumsOf } from "../../parts/sums";
import { toggled } from "../../parts/table";
import { attempt, say } from "../../parts/toasts";
import { useShortcuts } from "../../shell/keyboard";
import { decisionPath, go } from "../../shell/router";
import { Brief } from "./brief";
import { Bulk } from "./bulk";
import { FilterBar, useFilters } from "./filters";
import { HandOver } from "./hand_over";
import { give, keyOfRow, takeNext } from "./labelling";
import { useNews, useRenewal } from "./news";
import { Rows } from "./rows";

const PAGE = 200;

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
  const search = useRef<HTMLInputElement>(null);

  const list = useInfiniteQuery({
    queryKey: ["queue", filters.values],
    queryFn: ({ pageParam, signal }) => get<QueueAnswer>("/queue", { ...filters.values, limit: PAGE, cursor: pageParam }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next ?? undefined,
    // nothing moves under the cursor: the list is read again only when the person asks for it
    staleTime: Number.POSITIVE_INFINITY,
  });
  const first = list.data?.pages[0];
  const news = useNews(filters.values, first?.mark);
  const rows = useMemo(() => {
    const seen = new Set<string>();
    return [...taken, ...(list.data?.pages.flatMap((page) => page.rows) ?? [])]
      .filter((row) => !seen.has(keyOfRow(row)) && seen.add(keyOfRow(row)))
      .map((row) => ({ ...row, ...changed[keyOfRow(row)] }));
  }, [list.data, taken, changed]);
  const at = rows.findIndex((row) => keyOfRow(row) === chosen);
  const row = rows[at] ?? null;
  const pickedRows = rows.filter((one) => picked.has(keyOfRow(one)));
  const refused = label.may ? null : label.why;

  const change = (key: string, what: Changed) => setChanged((known) => ({ ...known, [key]: { ...known[key], ...what } }));
  const move = (by: number) => {
    const to = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
    if (to) setChosen(keyOfRow(to));
  };
  const reload = () => {
    setChanged({});
    setTaken([]);
    void queries.resetQueries({ queryKey: ["queue"] });
  };
  const next = () =>
    attempt(async () => {
      const found = await takeNext(queryText({ ...filters.values, locked: null }));
      if (found === null) return;
      const key = keyOfRow(found);
      if (!rows.some((one) => keyOfRow(one) === key)) setTaken((before) => [found, ...before]);
      change(key, { lock: found.lock, label: found.label });
      setChosen(key);
    });
  const mark = (name: LabelName) => {
    if (!row) return;
    if (refused) {
      say(refused, { bad: true });
      return;
    }
    const key = keyOfRow(row);
    const labelled = (given: Label | null) => {
      change(key, { label: given });
      const after = given && rows.slice(at + 1).find((one) => one.label === null);
      if (after) setChosen(keyOfRow(after));
      else if (given === null) setChosen(key);
    };
    attempt(() =>
      give(row, name, labelled).catch((error: unknown) => {
        if (error instanceof Problem && error.lock) change(key, { lock: error.lock });
        if (error instanceof Problem && error.label) change(key, { label: error.label });
        throw error;
      }),
    );
  };
  useShortcuts({
    down: () => move(1),
    up: () => move(-1),
    open: () => row && go(decisionPath(row.transaction_id, row.tenant)),
    next,
    fraud: () => mark("fraud"),
    legit: () => mark("legit"),
    escalate: () => row && setHanding(true),
    select: () => chosen && setPicked(toggled(picked, chosen)),
    filter: () => search.current?.focus(),
  });
  useRenewal(row, (held, lock) => change(keyOfRow(held), { lock }));

  return (
    <main id="screen" className="screen flush">
      <div className="queue">
        <div className="list">
          <FilterBar filters={filters} first={search} waits={first ? `${whole(first.open)} wait` : ""}>
            <Button look="primary" shortcut="next" refused={refused} onClick={next}>
              Take next
            </Button>
          </FilterBar>
          {picked.size > 0 ? (
            <div className="announce" role="status">
              <span className="grow">
                {picked.size} selected, <Sums sums={sumsOf(pickedRows)} />
              </span>
              <Button refused={refused} onClick={() => setBulk("fraud")}>
                Fraud …
              </Button>
              <Button refused={refused} onClick={() => setBulk("legit")}>
                Genuine …
              </Button>
              <Button look="plain" onClick={() => setPicked(new Set())}>
                Clear
              </Button>
            </div>
          ) : (
            news > 0 && (
              <div className="announce" role="status">
                <span className="grow">{whole(news)} new since the list was read.</span>
                <Button onClick={reload}>Read again</Button>
              </div>
            )
          )}
          {list.isPending && <Loading what="the queue" />}
          {list.isError && rows.length === 0 && <Failed error={list.error} retry={() => void list.refetch()} />}
          {list.data && rows.length === 0 && <Empty title="Nothing waits for review">{filters.narrowed ? "Nothing fits these filters." : "Reviews appear here seconds after their decision."}</Empty>}
          {rows.length > 0 && (
            <Rows
              rows={rows}
              chosen={chosen}
              choose={setChosen}
              picked={picked}
              pick={(key) => setPicked(toggled(picked, key))}
              total={first?.open ?? 0}
              more={() => list.hasNextPage && !list.isFetching && void list.fetchNextPage()}
            />
          )}
        </div>
        <aside className="brief" aria-label="The chosen payment">
          {row ? <Brief row={row} give={mark} hand={() => setHanding(true)} may={label} /> : <Empty title="No payment is chosen">Take the next one with n, or choose one with j and k.</Empty>}
        </aside>
      </div>
      {row && handing && <HandOver row={row} close={() => setHanding(false)} done={(lock) => change(keyOfRow(row), { lock })} />}
      {bulk && (
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
      )}
    </main>
  );
}
