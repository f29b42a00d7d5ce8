/** Tables: each column is told once, with its heading, its look and what stands in a row's cell. */

import { type ReactNode, useEffect, useRef, useState } from "react";
import { Answer, type Asked } from "./basic";

export interface Column<Row> {
  name: ReactNode;
  /** classes of its cells, such as `number` or `soft break` */
  look?: string;
  /** its cells name their row */
  heads?: boolean;
  /** its heading is heard, not seen */
  hidden?: boolean;
  cell: (row: Row, at: number) => ReactNode;
}

interface TableProps<Row> {
  columns: Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row, at: number) => string | number;
  /** the row is lit under the pointer: something in it leads on */
  link?: boolean;
  selected?: (row: Row, at: number) => boolean;
  /** the row under the pointer or with the focus; null: none any more */
  point?: (row: Row | null) => void;
  tall?: boolean;
}

export function Table<Row>({ columns, rows, keyOf, link = false, selected, point, tall }: TableProps<Row>) {
  return (
    <Scroll tall={tall}>
      <table>
        <thead>
          <tr>
            {columns.map(({ name, look, hidden }, place) => (
              <th key={place} className={/number|wide/.exec(look ?? "")?.[0]}>
                {hidden ? <span className="hidden-text">{name}</span> : name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, at) => (
            <tr
              key={keyOf(row, at)}
              className={link ? "link" : undefined}
              aria-selected={selected?.(row, at) || undefined}
              onMouseEnter={point && (() => point(row))}
              onMouseLeave={point && (() => point(null))}
              onFocus={point && (() => point(row))}
            >
              {columns.map(({ look, heads, cell }, place) => {
                const Cell = heads ? "th" : "td";
                return (
                  <Cell key={place} className={look} scope={heads ? "row" : undefined}>
                    {cell(row, at)}
                  </Cell>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

interface ListedProps<Data, Row> extends Omit<TableProps<Row>, "rows"> {
  of: Asked<Data>;
  what: string;
  rows: (data: Data) => readonly Row[];
  /** what stands there while there is no row */
  empty: ReactNode;
}

/** The rows of an answer as a table, or what stands there instead: loading, an error, nothing. */
export function Listed<Data, Row>({ of, what, rows, empty, ...table }: ListedProps<Data, Row>) {
  return (
    <Answer of={of} what={what}>
      {(data) => {
        const found = rows(data);
        return found.length === 0 ? empty : <Table rows={found} {...table} />;
      }}
    </Answer>
  );
}

type Keys = ReadonlySet<string>;

/** The set with a key added, or without it where it was in. */
export function toggled(keys: Keys, key: string): Keys {
  const next = new Set(keys);
  if (!next.delete(key)) next.add(key);
  return next;
}

/** A column of boxes to select rows by. `all`: those that one box in the heading selects together. */
export function picking<Row>(picked: Keys, set: (picked: Keys) => void, keyOf: (row: Row) => string, nameOf: (row: Row) => string, all: readonly Row[] = []): Column<Row> {
  const every = all.length > 0 && all.every((row) => picked.has(keyOf(row)));
  const heading = <input type="checkbox" aria-label="Select all" checked={every} onChange={() => set(every ? new Set() : new Set(all.map(keyOf)))} />;
  return {
    name: all.length > 0 ? heading : "Selected",
    hidden: all.length === 0,
    cell: (row) => <input type="checkbox" aria-label={`Select ${nameOf(row)}`} checked={picked.has(keyOf(row))} onChange={() => set(toggled(picked, keyOf(row)))} />,
  };
}

/** A part that scrolls by itself; the keyboard reaches it while there is something to scroll to. */
export function Scroll({ tall = false, children }: { tall?: boolean; children: ReactNode }) {
  const place = useRef<HTMLDivElement>(null);
  const [scrolls, setScrolls] = useState(false);
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const look = () => setScrolls(element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight);
    const sized = new ResizeObserver(look);
    sized.observe(element);
    if (element.firstElementChild) sized.observe(element.firstElementChild);
    return () => sized.disconnect();
  }, []);
  return (
    <div ref={place} className={tall ? "scroll-x tall" : "scroll-x"} tabIndex={scrolls ? 0 : undefined}>
      {children}
    </div>
  );
}
