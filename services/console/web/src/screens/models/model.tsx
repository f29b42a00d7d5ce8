import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get, part } from "../../api/client";
import type { ModelRow } from "../../api/types";
import { Answer, Button, Panel, Screen, Tag, Time } from "../../parts/basic";
import { Facts } from "../../parts/facts";
import { useParam } from "../../shell/router";
import { Actions } from "./actions";
import { Compare } from "./compare";
import { type Gates, GatesOf } from "./gates";
import { State } from "./state";

interface WholeModel extends ModelRow {
  signature: string;
  catalogue: { trained_on: string; running: string; same: boolean; does_not_use: string[] };
  policy: Record<string, unknown>;
  calibration: unknown;
  evaluation: Record<string, unknown> & { gates?: Gates };
  lineage: Record<string, unknown>;
}

export function ModelScreen({ id }: { id: string }) {
  const [compare] = useParam("compare");
  const model = useQuery({ queryKey: ["model", id], queryFn: ({ signal }) => get<WholeModel>(`/models/${part(id)}`, {}, signal) });
  return (
    <Screen>
      <Answer of={model} what={`model ${id}`}>
        {(data) => <Whole of={data} compare={compare === "1"} />}
      </Answer>
    </Screen>
  );
}

function Whole({ of, compare }: { of: WholeModel; compare: boolean }) {
  const { catalogue, lineage } = of;
  const { gates, ...evaluation } = of.evaluation;
  return (
    <>
      <div className="row wrap apart">
        <div className="row wrap">
          <h2 className="title">
            {of.model} {of.version}
          </h2>
          <State row={of} />
          <span className="soft">
            signature {of.signature}; {of.by ? `by ${of.by}` : ""} <Time at={of.since ?? of.created_at} />
          </span>
        </div>
        <Actions row={of} />
      </div>
      {!catalogue.same && (
        <p className="message warn">
          It was trained on catalogue {catalogue.trained_on}; {catalogue.running} runs.
        </p>
      )}
      {of.state !== "live" && <Compare version={of.version} at_once={compare} />}
      {gates && (
        <Panel title="Gates and fairness">
          <GatesOf gates={gates} />
        </Panel>
      )}
      <Evidence version={of.version} />
      <div className="grid">
        <Panel className="span-4" title="Evaluation">
          <Facts value={evaluation} />
        </Panel>
        <Panel className="span-4" title="Policy">
          <Facts value={of.policy} />
        </Panel>
        <Panel className="span-4" title="Lineage">
          <Facts value={{ ...lineage, ...(catalogue.does_not_use.length > 0 ? { "does not use": catalogue.does_not_use } : {}) }} />
        </Panel>
      </div>
    </>
  );
}

interface Pack {
  hash: string;
  expires_at: string;
  approvable: boolean;
  refused_for: string | null;
  pack: Record<string, unknown>;
}

/** What an approval names by its hash, when it is asked for. */
function Evidence({ version }: { version: string }) {
  const [asked, setAsked] = useState(false);
  const found = useQuery({ queryKey: ["evidence", version], queryFn: ({ signal }) => get<Pack>(`/models/${part(version)}/evidence`, {}, signal), enabled: asked, retry: false });
  return (
    <Panel title="Evidence pack" aside={asked ? null : <Button onClick={() => setAsked(true)}>Read it</Button>}>
      {!asked ? (
        <p className="soft">What a person reads before approving: gates, lineage and policy of this version, signed. An approval names its hash.</p>
      ) : (
        <Answer of={found} what="the evidence (some seconds)">
          {({ hash, expires_at, approvable, refused_for, pack }) => (
            <div className="stack tight">
              <p className="break">
                {approvable ? <Tag tone="good">may be approved by</Tag> : <Tag tone="warn">nobody may approve by it</Tag>} <span className="mono">{hash}</span>, expires <Time at={expires_at} />
                {refused_for && <span className="soft">. {refused_for}</span>}
              </p>
              <Facts value={pack} />
            </div>
          )}
        </Answer>
      )}
    </Panel>
  );
}
