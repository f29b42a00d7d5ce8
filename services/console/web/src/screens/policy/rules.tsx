import { useQuery } from "@tanstack/react-query";
import { get } from "../../api/client";
import type { Rule, Rules } from "../../api/types";
import { Answer, Empty, Panel, Screen, Segments, Tag, Time } from "../../parts/basic";
import { Table } from "../../parts/table";
import { Link, useParam } from "../../shell/router";
import { Editor } from "./editor";
import { hitColumns } from "./hits";

export function RulesScreen() {
  const [tab, setTab] = useParam("view", "live");
  return (
    <Screen>
      <Segments name="View" value={tab} options={[["live", "Live"], ["edit", "Edit and test"]] as const} change={setTab} />
      {tab === "edit" ? <Editor /> : <Live />}
    </Screen>
  );
}

function Live() {
  const [name] = useParam("name");
  const rules = useQuery({ queryKey: ["rules"], queryFn: ({ signal }) => get<Rules>("/rules", {}, signal) });
  return (
    <Answer of={rules} what="the live policy">
      {(data) => (
        <>
          <p className="soft">
            Policy {data.policy_version} with model <Link href={`/models/${data.model_version}`}>{data.model_version}</Link>: review from <span className="strong">{data.review.toFixed(4)}</span>, decline from{" "}
            <span className="strong">{data.decline.toFixed(4)}</span>; without a score: {data.without_score}.
            {data.expected_loss && ` Thresholds minimise expected loss in ${data.expected_loss.currency}.`}
          </p>
          {data.thresholds.length > 0 && (
            <ul className="soft">
              {data.thresholds.map((one) => (
                <li key={`${one.tenant ?? ""}/${one.channel ?? ""}`}>
                  {[one.tenant, one.channel].filter(Boolean).join(", ")}: review from {one.review.toFixed(4)}, decline from {one.decline.toFixed(4)}
                </li>
              ))}
            </ul>
          )}
          <Panel title="Rules" aside={<span className="quiet small">matches of 24 hours and 7 days; labels are of payments that were not approved</span>} bare>
            {data.rules.length === 0 ? (
              <Empty title="No rule is live">The score alone decides. A rule can be written under “Edit and test”.</Empty>
            ) : (
              <Table
                rows={data.rules}
                keyOf={(rule) => rule.name}
                selected={(rule) => rule.name === name}
                columns={[
                  { name: "Rule", look: "name", heads: true, cell: (rule) => <Link href={`/decisions?rule=${encodeURIComponent(rule.name)}`}>{rule.name}</Link> },
                  { name: "Action", cell: ({ action }) => <Tag tone={action === "decline" ? "bad" : action === "review" ? "warn" : ""}>{action}</Tag> },
                  {
                    name: "Condition",
                    look: "condition",
                    cell: (rule) => (
                      <>
                        <span className="mono break">{rule.when}</span>
                        <br />
                        <span className="quiet small">
                          {rule.reason}
                          {rule.tenants.length > 0 && ` · tenants ${rule.tenants.join(", ")}`}
                        </span>
                      </>
                    ),
                  },
                  ...hitColumns<Rule>(),
                  { name: "Owner", cell: (rule) => rule.owner },
                  { name: "Until", cell: (rule) => (rule.expired ? <Tag tone="warn">expired</Tag> : <Time at={rule.expires} />) },
                ]}
              />
            )}
          </Panel>
        </>
      )}
    </Answer>
  );
}
