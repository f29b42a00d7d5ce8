/** The rows of the queue: only those in sight exist. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { useSession } from "../../api/session";
import type { DecisionRow } from "../../api/types";
import { Money, Tag } from "../../parts/basic";
import { briefSpan, score, span } from "../../parts/format";
import { decisionPath, go } from "../../shell/router";
import { LabelState } from "./label_state";
import { keyOfRow } from "./labelling";

interface RowsProps {
  rows: DecisionRow[];
  chosen: string | null;
  choose: (key: string) => void;
  picked: ReadonlySet<string>;
  pick: (key: string) => void;
  total: number;
  more: () => void;
}

export function Rows({ rows, chosen, choose, picked, pick, total, more }: RowsProps) {
  const place = useRef<HTMLDivElement>(null);
  const { review_within_s: within_s } = useSession();
  const narrow = useNarrow();
  const height = useRowHeight(narrow);
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
            Due in
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
              <Due age_s={row.age_s} within_s={within_s} />
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

/** What is left of the time in which a review is to be labelled, as of when the list was read. */
function Due({ age_s, within_s }: { age_s: number; within_s: number }) {
  const left = within_s - age_s;
  return (
    <span role="gridcell" className={`c-age right nowrap ${left < 0 ? "late" : "soft"}`} title={`decided ${span(age_s)} ago, to be labelled within ${span(within_s)}`}>
      {left < 0 ? `${briefSpan(-left)} late` : briefSpan(left)}
    </span>
  );
}

/** As tall as all rows together, of which only those in sight exist. */
function Sized({ height, children }: { height: number; children: ReactNode }) {
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
  children: ReactNode;
}

function Placed({ top, id, index, selected, done, choose, open, children }: PlacedProps) {
  const narrow = useNarrow();
  return (
    <div role="row" id={id} className={`item ${done ? "done" : ""}`} aria-rowindex={index + 2} aria-selected={selected} style={{ transform: `translateY(${top}px)` }} onClick={narrow ? open : choose} onDoubleClick={open}>
      {children}
    </div>
  );
}

const NARROW = matchMedia("(max-width: 760px)");
/** where the tokens of sizes change */
const WIDE = [matchMedia("(min-width: 2400px)"), matchMedia("(min-width: 3200px)")];

function useMatches(list: MediaQueryList): boolean {
  return useSyncExternalStore(
    useCallback(
      (changed: () => void) => {
        list.addEventListener("change", changed);
        return () => list.removeEventListener("change", changed);
      },
      [list],
    ),
    () => list.matches,
  );
}

const useNarrow = (): boolean => useMatches(NARROW);

/** A row with its line, in pixels, as the stylesheet draws it. */
function useRowHeight(narrow: boolean): number {
  const sizes = WIDE.map(useMatches).join();
  return useMemo(() => (narrow ? 73 : Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) + 1), [narrow, sizes]);
}
