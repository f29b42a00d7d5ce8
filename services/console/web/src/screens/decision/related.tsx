import { useQuery } from "@tanstack/react-query";
import { get, part } from "../../api/client";
import type { DecisionRow } from "../../api/types";
import { Answer, Money, Panel, Scroll, Time, Verdict } from "../../parts/basic";
import { score } from "../../parts/format";
import { decisionPath, Link } from "../../shell/router";
import { LabelState } from "../review/label_state";

interface Group {
  entity: string;
  id: string;
  count: number;
  rows: DecisionRow[];
}

export function Related({ id, tenant }: { id: string; tenant: string }) {
  const found = useQuery({ queryKey: ["related", tenant, id], queryFn: ({ signal }) => get<{ groups: Group[] }>(`/decisions/${part(id)}/related`, { tenant }, signal), staleTime: 60_000 });
  return (
    <Panel className="span-12" title="Related payments" aside={<span className="quiet small">not approved ones that share an entity</span>} bare>
      <Answer of={found} what="related payments">
        {(data) => {
          const groups = data.groups.filter((group) => group.rows.length > 0);
          if (groups.length === 0) return <div className="body soft">None.</div>;
          return (
            <Scroll>
              <table>
                <thead>
                  <tr>
                    <th>Shares</th>
                    <th>Payment</th>
                    <th>Time</th>
                    <th>Decision</th>
                    <th className="number">Amount</th>
                    <th className="number">Score</th>
                    <th>Label</th>
                  </tr>
                </thead>
                <tbody>
                  {groups.flatMap((group) =>
                    group.rows.slice(0, 5).map((row, at) => (
                      <tr key={group.entity + row.tenant + row.transaction_id}>
                        <th className="break">
                          {at === 0 && (
                            <>
                              <span className="soft">{group.entity}</span> <Link href={`/decisions?${group.entity}=${part(group.id)}`}>{group.id}</Link> <span className="quiet">({group.count})</span>
                            </>
                          )}
                        </th>
                        <td className="break">
                          <Link href={decisionPath(row.transaction_id, row.tenant)}>{row.transaction_id}</Link>
                        </td>
                        <td>
                          <Time at={row.event_time} />
                        </td>
                        <td>
                          <Verdict name={row.decision} />
                        </td>
                        <td className="number">
                          <Money minor={row.amount_minor} currency={row.currency} />
                        </td>
                        <td className="number">{row.score === null ? "–" : score(row.score)}</td>
                        <td>{row.label && <LabelState label={row.label} />}</td>
                      </tr>
                    )),
                  )}
                </tbody>
              </table>
            </Scroll>
          );
        }}
      </Answer>
    </Panel>
  );
}
