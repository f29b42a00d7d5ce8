import type { ReactNode } from "react";
import { number, words } from "./format";
import { Table } from "./table";

const SHORT_LIST = 8;
type Fields = Record<string, unknown>;

const plain = (value: unknown): boolean => value === null || typeof value !== "object";
const table = (value: unknown): value is Fields[] => Array.isArray(value) && value.length > 0 && value.every((row) => typeof row === "object" && row !== null && !Array.isArray(row) && Object.values(row).every(plain));

function Plain({ value }: { value: unknown }) {
  if (value === null || value === undefined || value === "") return <span className="quiet">none</span>;
  if (typeof value === "boolean") return <>{value ? "yes" : "no"}</>;
  if (typeof value === "number") return <>{number(value, 5)}</>;
  return <span className="break">{String(value)}</span>;
}

/** Named figures and texts of any depth, as a command prints them in JSON, for people: pairs, tables, and what is deep folded. */
export function Facts({ value }: { value: unknown }): ReactNode {
  if (plain(value)) return <Plain value={value} />;
  if (table(value)) return <Rows rows={value} />;
  const entries = Object.entries(value as object);
  if (entries.length === 0) return <span className="quiet">none</span>;
  if (Array.isArray(value) && value.every(plain)) {
    const more = value.length - SHORT_LIST;
    return <span className="break">{value.slice(0, SHORT_LIST).map((one) => (typeof one === "number" ? number(one, 4) : String(one))).join(", ") + (more > 0 ? ` and ${more} more` : "")}</span>;
  }
  const isShort = (one: unknown) => plain(one) || (Array.isArray(one) && one.every(plain));
  const short = entries.filter(([, one]) => isShort(one));
  const deep = entries.filter(([, one]) => !isShort(one));
  return (
    <div className="stack tight">
      {short.length > 0 && (
        <dl className="facts">
          {short.map(([name, one]) => (
            <div key={name}>
              <dt className="break">{words(name)}</dt>
              <dd>
                <Facts value={one} />
              </dd>
            </div>
          ))}
        </dl>
      )}
      {deep.map(([name, one]) => (
        <details key={name} open={table(one) && (one as unknown[]).length <= 12}>
          <summary>
            {words(name)} <span className="quiet small">{Object.keys(one as object).length}</span>
          </summary>
          <div className="inset">
            <Facts value={one} />
          </div>
        </details>
      ))}
    </div>
  );
}

function Rows({ rows }: { rows: Fields[] }) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const numeric = (name: string) => rows.every((row) => row[name] === null || row[name] === undefined || typeof row[name] === "number");
  return <Table<Fields> rows={rows} keyOf={(_row, at) => at} columns={names.map((name) => ({ name: words(name), look: numeric(name) ? "number" : "", cell: (row) => <Plain value={row[name]} /> }))} />;
}
