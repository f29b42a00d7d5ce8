import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get, part } from "../../api/client";
import { Answer, Button, Empty, Panel, Screen, Tag, Time } from "../../parts/basic";
import { whole } from "../../parts/format";
import { type Column, Table } from "../../parts/table";
import { useParam } from "../../shell/router";
import { ListEditor } from "./list_editor";
import { SOON_DAYS, TONES } from "./lists";

export interface ListEntry {
  value: string;
  expires: string | null;
  owner: string;
  reason: string;
  expired: boolean;
}

export interface ListWhole {
  name: string;
  kind: string;
  field: string;
  owner: string;
  reason: string;
  expires: string | null;
  tenants: string[];
  policy_version: string;
  counted: number;
  rows: ListEntry[];
}

/** One list: its entries, and a change of them from CSV. */
export function ListScreen({ id }: { id: string }) {
  const [made] = useParam("new");
  return made ? <NewList name={id} /> : <Known name={id} />;
}

function NewList({ name }: { name: string }) {
  return (
    <Screen>
      <h2 className="title break">{name}, a new list</h2>
      <ListEditor name={name} list={null} start="" />
    </Screen>
  );
}

function Known({ name }: { name: string }) {
  const [q, setQ] = useState("");
  const [soon, setSoon] = useState(false);
  const [start, setStart] = useState({ csv: "", at: 0 });
  const found = useQuery({
    queryKey: ["list", name, q, soon],
    queryFn: ({ signal }) => get<ListWhole>(`/lists/${part(name)}`, { q, within_days: soon ? SOON_DAYS : null, limit: 500 }, signal),
    placeholderData: (before) => before,
  });
  return (
    <Screen>
      <Answer of={found} what={`list ${name}`}>
        {(list) => (
          <>
            <div className="row wrap">
              <h2 className="title break">{list.name}</h2>
              <Tag tone={TONES[list.kind as keyof typeof TONES]}>{list.kind}</Tag>
              <span className="mono">{list.field}</span>
              <span className="soft">
                {[list.owner, list.reason].filter(Boolean).join(": ")}
                {list.tenants.length > 0 && `; tenants ${list.tenants.join(", ")}`}; policy {list.policy_version}
              </span>
            </div>
            <div className="grid">
              <Panel
                className="span-7"
                title={`${whole(list.counted)} ${soon ? `expire within ${SOON_DAYS} days` : q ? "fit" : "entries"}`}
                aside={
                  <div className="row wrap">
                    <input className="input" aria-label="Search values" placeholder="Search values" maxLength={64} value={q} onChange={(event) => setQ(event.target.value)} />
                    <label className="row small soft">
                      <input type="checkbox" checked={soon} onChange={() => setSoon(!soon)} />
                      expiring soon
                    </label>
                    <Button refused={list.rows.length > 0 ? null : "Nothing is shown."} onClick={() => setStart({ csv: asCsv(list.rows), at: start.at + 1 })}>
                      Edit these
                    </Button>
                  </div>
                }
                bare
              >
                {list.rows.length === 0 ? <Empty title="No entry fits" /> : <Table rows={list.rows} keyOf={(row) => row.value} columns={ENTRY} tall />}
              </Panel>
              <div className="span-5">
                <ListEditor key={start.at} name={name} list={list} start={start.csv} />
              </div>
            </div>
          </>
        )}
      </Answer>
    </Screen>
  );
}

const ENTRY: Column<ListEntry>[] = [
  { name: "Value", look: "mono break", heads: true, cell: (row) => row.value },
  {
    name: "Expires",
    cell: (row) => (
      <>
        <Time at={row.expires} /> {row.expired && <Tag tone="warn">expired</Tag>}
      </>
    ),
  },
  { name: "Owner", cell: (row) => row.owner },
  { name: "Reason", look: "soft break", cell: (row) => row.reason },
];

const quoted = (text: string): string => (/[",;\t\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const asCsv = (rows: ListEntry[]): string => ["value,expires,owner,reason", ...rows.map((row) => [row.value, row.expires ?? "", row.owner, row.reason].map(quoted).join(","))].join("\n");
