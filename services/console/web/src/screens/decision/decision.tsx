import { useQuery } from "@tanstack/react-query";
import { get, part } from "../../api/client";
import type { DecisionWhole } from "../../api/types";
import { Answer, Panel, Screen, Time } from "../../parts/basic";
import { number, score } from "../../parts/format";
import { Link, useParam } from "../../shell/router";
import { Depth } from "./depth";
import { Features } from "./features";
import { Head } from "./head";
import { Notes } from "./notes";
import { PaymentPairs } from "./payment";
import { Related } from "./related";
import { Timeline } from "./timeline";
import { Gauge, MatchedTable, Reasons } from "./why";

/** One decision whole, and where it was made. */
export interface Of {
  whole: DecisionWhole;
  id: string;
  tenant: string;
}

export function DecisionScreen({ id }: { id: string }) {
  const [tenant] = useParam("tenant", "default");
  const found = useQuery({ queryKey: ["decision", tenant, id], queryFn: ({ signal }) => get<DecisionWhole>(`/decisions/${part(id)}`, { tenant }, signal) });
  return (
    <Screen>
      <Answer of={found} what="the decision">
        {(whole) => <Whole whole={whole} id={id} tenant={tenant} />}
      </Answer>
    </Screen>
  );
}

function Whole({ whole, id, tenant }: Of) {
  const { decision, thresholds, matched } = whole;
  return (
    <>
      <Head whole={whole} id={id} tenant={tenant} />
      <div className="grid">
        <Panel className="span-7" title="Why" aside={<span className="quiet small">as given at <Time at={decision.decided_at} /></span>}>
          <Reasons whole={whole} />
          {thresholds && decision.score !== null && <Gauge score={decision.score} {...thresholds} />}
          {thresholds === null && <p className="quiet small">The thresholds of policy {decision.policy_version} are not kept any more.</p>}
        </Panel>
        <Panel className="span-5" title="Payment">
          <PaymentPairs whole={whole} />
        </Panel>
        <Panel className="span-12" title="Rules and lists that matched" bare={matched.length > 0}>
          {matched.length === 0 ? <p className="soft">None.</p> : <MatchedTable whole={whole} />}
        </Panel>
        <Timeline id={id} tenant={tenant} />
        <Notes whole={whole} id={id} tenant={tenant} />
        <Related id={id} tenant={tenant} />
        <Features whole={whole} id={id} tenant={tenant} />
        <Depth id={id} tenant={tenant} />
        <Panel className="span-12" title="Decided by">
          <dl className="pairs">
            <dt>Model</dt>
            <dd>
              {decision.model} <Link href={`/models/${decision.model_version}`}>{decision.model_version}</Link>, policy {decision.policy_version}, features{" "}
              <span className="mono">{decision.features_version}</span>
            </dd>
            <dt>Arm</dt>
            <dd>
              {decision.arm}
              {Object.entries(decision.shadow).map(([version, value]) => (
                <span key={version} className="soft">
                  {" "}
                  · {version} in shadow says {score(value)}
                </span>
              ))}
            </dd>
            <dt>Received</dt>
            <dd>
              <Time at={decision.received_at} />, decided {number(decision.latency_ms, 3)} ms later
            </dd>
            <dt>Found in</dt>
            <dd>
              {whole.found_in.decision}
              {whole.found_in.features ? `; features in ${whole.found_in.features}` : "; features are not kept any more"}
            </dd>
          </dl>
        </Panel>
      </div>
    </>
  );
}
