import type { Overview } from "../../api/types";
import { Panel, Sums, Tag, Time } from "../../parts/basic";
import { percent, span, whole, words } from "../../parts/format";
import { Table } from "../../parts/table";
import { Link } from "../../shell/router";

export function Parts({ data }: { data: Overview }) {
  return (
    <div className="grid">
      <Panel className="span-4" title="Model and arms" aside={<Link href="/rollout">Rollout</Link>}>
        {data.model === null ? (
          <p className="soft">No model serves.</p>
        ) : (
          <dl className="pairs">
            <dt>Serves</dt>
            <dd>
              <Link href={`/models/${data.model.version}`}>{data.model.version}</Link> {!data.model.reviewed && <Tag tone="warn">unreviewed</Tag>}
            </dd>
            <dt>Approved by</dt>
            <dd>{data.model.approved_by || "nobody"}</dd>
            <dt>Since</dt>
            <dd>
              <Time at={data.model.since} />
            </dd>
            {data.rollout && (
              <>
                <dt>Rollout</dt>
                <dd>{words(data.rollout.state)}</dd>
                {Object.entries(data.rollout.arms ?? {}).map(([arm, version]) => (
                  <Arm key={arm} arm={arm} version={version} share={data.rollout?.traffic?.[arm]} />
                ))}
              </>
            )}
          </dl>
        )}
      </Panel>
      <Panel className="span-4" title="Alerts" aside={<Link href="/oncall">On call</Link>}>
        {data.alerts === null ? (
          <p className="soft">Alertmanager does not answer.</p>
        ) : data.alerts.length === 0 ? (
          <p className="soft">No alert fires.</p>
        ) : (
          <ul className="stack tight">
            {data.alerts.map((alert) => (
              <li key={alert.alert + alert.since} className="small">
                <Tag tone={alert.severity === "page" && !alert.silenced ? "bad" : ""}>{alert.silenced ? "silenced" : alert.severity}</Tag> <span className="strong">{alert.alert}</span>{" "}
                <span className="soft break">{alert.summary}</span>
              </li>
            ))}
          </ul>
        )}
      </Panel>
      <Panel className="span-4" title="Consumer lag" aside={<span className="quiet small">records not read yet</span>} bare>
        {data.lag === null || data.lag.length === 0 ? (
          <div className="body soft">{data.lag === null ? "Kafka does not answer." : "No consumer is known yet."}</div>
        ) : (
          <Table
            rows={data.lag}
            keyOf={({ group, topic }) => `${group} ${topic}`}
            columns={[
              { name: "Group", look: "break", heads: true, cell: ({ group }) => group },
              { name: "Topic", look: "soft", cell: ({ topic }) => topic },
              { name: "Records", look: "number", cell: ({ records }) => whole(records) },
            ]}
          />
        )}
      </Panel>
      <p className="quiet small span-12">
        The console keeps {whole(data.console.rows)} payments that were not approved, of the last {data.console.days} days; it is {span(data.console.behind_s)} behind the decisions
        {data.labels.honest_stopped.length > 0 && (
          <>
            . Declined and labelled genuine in {data.labels.window_days} d: <Sums sums={data.labels.honest_stopped} />
          </>
        )}
        {data.labels.honest_reviewed.length > 0 && (
          <>
            ; reviewed and labelled genuine: <Sums sums={data.labels.honest_reviewed} />
          </>
        )}
        .
      </p>
    </div>
  );
}

function Arm({ arm, version, share }: { arm: string; version: string | null; share: number | undefined }) {
  if (version === null) return null;
  return (
    <>
      <dt>{arm}</dt>
      <dd>
        {version}
        {share !== undefined && <span className="quiet"> {percent(share, 0)} of traffic</span>}
      </dd>
    </>
  );
}
