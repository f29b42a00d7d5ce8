import { useInfiniteQuery } from "@tanstack/react-query";
import { useMemo, useRef, useState } from "react";
import { get } from "../../api/client";
import type { DecisionRow, Found } from "../../api/types";
import { Answer, Button, Empty, Panel, Screen } from "../../parts/basic";
import { whole, words } from "../../parts/format";
import { useShortcuts } from "../../shell/keyboard";
import { decisionPath, go, useParam } from "../../shell/router";
import { PaymentsTable } from "./payments_table";

const ENTITIES = ["card", "customer", "merchant", "device", "ip", "rule", "reason", "tenant"] as const;

/** Reviewed and declined payments, newest first. The filters are in the address, so that a link shares them. */
export function Decisions() {
  const [q, setQ] = useParam("q");
  const [kind, setKind] = useParam("decision");
  const [status, setStatus] = useParam("status");
  const [label, setLabel] = useParam("label");
  const [min_score, setScore] = useParam("min_score");
  const entities = Object.fromEntries(ENTITIES.map((name) => [name, useParam(name)])) as Record<(typeof ENTITIES)[number], [string, (value: string) => void]>;
  const values = useMemo(
    () => ({ q, decision: kind, status, label, min_score, ...Object.fromEntries(ENTITIES.map((name) => [name, entities[name][0]])) }),
    [q, kind, status, label, min_score, ...ENTITIES.map((name) => entities[name][0])],
  );
  const search = useRef<HTMLInputElement>(null);
  const [typed, setTyped] = useState(q);
  const [at, setAt] = useState(-1);
  const found = useInfiniteQuery({
    queryKey: ["decisions", values],
    queryFn: ({ pageParam, signal }) => get<Found<DecisionRow>>("/decisions", { ...values, limit: 100, cursor: pageParam }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next ?? undefined,
  });
  const rows = found.data?.pages.flatMap((page) => page.rows) ?? [];
  useShortcuts({
    filter: () => search.current?.focus(),
    down: () => setAt(Math.min(rows.length - 1, at + 1)),
    up: () => setAt(Math.max(0, at - 1)),
    open: () => {
      const row = rows[at];
      if (row) go(decisionPath(row.transaction_id, row.tenant));
    },
  });
  const set = ENTITIES.filter((name) => entities[name][0]);
  return (
    <Screen>
      <form
        className="row wrap"
        onSubmit={(event) => {
          event.preventDefault();
          setQ(typed.trim());
        }}
      >
        <input ref={search} className="input" size={28} aria-label="Transaction id or its beginning" placeholder="Transaction id or its beginning" value={typed} onChange={(event) => setTyped(event.target.value)} />
        <Button type="submit">Search</Button>
        <Button look="plain" onClick={() => typed.trim() && go(decisionPath(typed.trim(), "default"))}>
          Open exactly, approved too
        </Button>
        <label className="row small soft">
          Decision
          <select className="input" value={kind} onChange={(event) => setKind(event.target.value)}>
            <option value="">review and decline</option>
            <option value="review">review</option>
            <option value="decline">decline</option>
          </select>
        </label>
        <label className="row small soft">
          Status
          <select className="input" value={status} onChange={(event) => setStatus(event.target.value)}>
            <option value="">any</option>
            {["scored", "degraded", "not_scored"].map((one) => (
              <option key={one} value={one}>
                {words(one)}
              </option>
            ))}
          </select>
        </label>
        <label className="row small soft">
          Label
          <select className="input" value={label} onChange={(event) => setLabel(event.target.value)}>
            <option value="">any</option>
            <option value="fraud">fraud</option>
            <option value="legit">genuine</option>
            <option value="none">none yet</option>
          </select>
        </label>
        <label className="row small soft">
          Score from
          <input className="input" type="number" min={0} max={1} step={0.05} value={min_score} onChange={(event) => setScore(event.target.value)} />
        </label>
        {set.map((name) => (
          <Button key={name} onClick={() => entities[name][1]("")} aria-label={`Remove filter ${name}`}>
            {name}: {entities[name][0]} ×
          </Button>
        ))}
      </form>
      <Answer of={found} what="decisions">
        {(data) =>
          rows.length === 0 ? (
            <Empty title="No payment fits">The console keeps payments that were not approved; an approved one can be opened by its exact id.</Empty>
          ) : (
            <Panel title={`${whole(data.pages[0]?.counted ?? rows.length)} payments`} aside={<span className="quiet small">newest first</span>} bare>
              <PaymentsTable rows={rows} at={at} />
              {found.hasNextPage && (
                <div className="body row more">
                  <Button refused={found.isFetching ? "Loading." : null} onClick={() => void found.fetchNextPage()}>
                    More
                  </Button>
                </div>
              )}
            </Panel>
          )
        }
      </Answer>
    </Screen>
  );
}
