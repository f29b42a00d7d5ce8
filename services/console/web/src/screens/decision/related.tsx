import { useQuery } from "@tanstack/react-query";
import { get, part } from "../../api/client";
import type { DecisionRow } from "../../api/types";
import { Panel, Time } from "../../parts/basic";
import { Listed } from "../../parts/table";
import { Link } from "../../shell/router";
import { PAYMENT } from "../review/payments_table";

interface Group {
  entity: string;
  id: string;
  count: number;
  rows: DecisionRow[];
}

/** of each entity */
const SHOWN = 5;

export function Related({ id, tenant }: { id: string; tenant: string }) {
  const found = useQuery({ queryKey: ["related", tenant, id], queryFn: ({ signal }) => get<{ groups: Group[] }>(`/decisions/${part(id)}/related`, { tenant }, signal), staleTime: 60_000 });
  return (
    <Panel className="span-12" title="Related payments" aside={<span className="quiet small">not approved ones that share an entity</span>} bare>
      <Listed
        of={found}
        what="related payments"
        rows={({ groups }) => groups.flatMap((group) => group.rows.slice(0, SHOWN).map((row, at) => ({ ...row, group: at === 0 ? group : null, key: `${group.entity} ${row.tenant}/${row.transaction_id}` })))}
        empty={<div className="body soft">None.</div>}
        keyOf={({ key }) => key}
        columns={[
          {
            name: "Shares",
            look: "break",
            heads: true,
            cell: ({ group }) =>
              group && (
                <>
                  <span className="soft">{group.entity}</span> <Link href={`/decisions?${group.entity}=${part(group.id)}`}>{group.id}</Link> <span className="quiet">({group.count})</span>
                </>
              ),
          },
          PAYMENT.id,
          { name: "Time", cell: (row) => <Time at={row.event_time} /> },
          PAYMENT.verdict,
          PAYMENT.amount,
          PAYMENT.score,
          PAYMENT.label,
        ]}
      />
    </Panel>
  );
}
