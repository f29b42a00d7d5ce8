import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { get, post } from "../api/client";
import { useMay } from "../api/session";
import type { Hits, Rules, RuleTest } from "../api/types";
import { Answer, Button, Empty, Panel, Scroll, Segments, Sums, Tag, Time } from "../parts/basic";
import { Diff } from "../parts/diff";
import { ReasonDialog } from "../parts/dialog";
import { whole, words } from "../parts/format";
import { say, sayError } from "../parts/toasts";
import { Link, useParam } from "../shell/router";
import { PolicyText } from "./policy_text";

export function RulesScreen() {
  const [tab, setTab] = useParam("view", "live");
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Segments name="View" value={tab} options={[["live", "Live"], ["edit", "Edit and test"]] as const} change={setTab} />
        {tab === "edit" ? <Editor /> : <Live />}
      </div>
    </main>
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
          <Panel title="Rules" aside={<span className="quiet small">hits are payments that were not approved</span>} bare>
            {data.rules.length === 0 ? (
              <Empty title="No rule is live">The score alone decides. A rule can be written under “Edit and test”.</Empty>
            ) : (
              <Scroll>
                <table>
                  <thead>
                    <tr>
                      <th>Rule</th>
                      <th>Action</th>
                      <th>Condition</th>
                      <HitHeads />
                      <th>Owner</th>
                      <th>Until</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.rules.map((rule) => (
                      <tr key={rule.name} aria-selected={rule.name === name}>
                        <th>
                          <Link href={`/decisions?rule=${encodeURIComponent(rule.name)}`}>{rule.name}</Link>
                        </th>
                        <td>
                          <Tag tone={rule.action === "decline" ? "bad" : rule.action === "review" ? "warn" : ""}>{rule.action}</Tag>
                        </td>
                        <td>
                          <span className="mono break">{rule.when}</span>
                          <br />
                          <span className="quiet small">
                            {rule.reason}
                            {rule.tenants.length > 0 && ` · tenants ${rule.tenants.join(", ")}`}
                          </span>
                        </td>
                        <HitCells hits={rule.hits} />
                        <td>{rule.owner}</td>
                        <td>{rule.expired ? <Tag tone="warn">expired</Tag> : <Time at={rule.expires} />}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )}
          </Panel>
          <Panel title="Lists" bare>
            {data.lists.length === 0 ? (
              <Empty title="No list is live" />
            ) : (
              <Scroll>
                <table>
                  <thead>
                    <tr>
                      <th>List</th>
                      <th>Kind</th>
                      <th>Field</th>
                      <th className="number">Entries</th>
                      <HitHeads />
                      <th>Owner</th>
                      <th>Next expiry</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.lists.map((list) => (
                      <tr key={list.name} aria-selected={list.name === name}>
                        <th>
                          <Link href={`/decisions?rule=${encodeURIComponent(list.name)}`}>{list.name}</Link> <span className="quiet small">{list.reason}</span>
                        </th>
                        <td>
                          <Tag tone={list.kind === "block" ? "bad" : list.kind === "allow" ? "good" : "warn"}>{list.kind}</Tag>
                        </td>
                        <td className="mono">{list.field}</td>
                        <td className="number">
                          {whole(list.entries)}
                          {list.expired > 0 && <span className="quiet"> ({whole(list.expired)} expired)</span>}
                        </td>
                        <HitCells hits={list.hits} />
                        <td>{list.owner}</td>
                        <td>
                          <Time at={list.next_expiry} />
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )}
          </Panel>
        </>
      )}
    </Answer>
  );
}

function HitHeads() {
  return (
    <>
      <th className="number">24 h</th>
      <th className="number">7 d</th>
      <th className="number">Fraud</th>
      <th className="number">Genuine</th>
      <th className="number">Open</th>
    </>
  );
}

function HitCells({ hits }: { hits: Hits | undefined }) {
  return (
    <>
      {(["day", "week", "fraud", "legit", "open"] as const).map((name) => (
        <td key={name} className="number">
          {hits ? whole(hits[name]) : "–"}
        </td>
      ))}
    </>
  );
}

interface CheckAnswer {
  good: boolean;
  errors: string[];
  warnings?: string[];
  expired?: string[];
  rules?: number;
  lists?: number;
  entries?: number;
}

const SINCE = [
  ["24h", "24 h"],
  ["7d", "7 d"],
  ["30d", "30 d"],
] as const;
const CHECK_AFTER_MS = 600;

/** The live policy as text: checked while it is written, tested on the past, proposed to somebody else. */
function Editor() {
  const live = useQuery({ queryKey: ["rules-text"], queryFn: ({ signal }) => get<{ text: string; policy_version: string }>("/rules/text", {}, signal), staleTime: Number.POSITIVE_INFINITY });
  return (
    <Answer of={live} what="the policy's text">
      {(data) => <EditorOf key={data.policy_version} text={data.text} version={data.policy_version} />}
    </Answer>
  );
}

const DRAFT = "tollgate.rules.draft";

function draftOf(version: string): string | null {
  const [of, ...text] = (sessionStorage.getItem(DRAFT) ?? "").split("\n");
  return of === version && text.length > 0 ? text.join("\n") : null;
}

function EditorOf({ text: before, version }: { text: string; version: string }) {
  const may = useMay("propose", true);
  const [text, setText] = useState(() => draftOf(version) ?? before);
  const [checked, setChecked] = useState<CheckAnswer | null>(null);
  const [since, setSince] = useState<(typeof SINCE)[number][0]>("7d");
  const [tested, setTested] = useState<RuleTest | null>(null);
  const [testing, setTesting] = useState(false);
  const [proposing, setProposing] = useState(false);
  const changed = text !== before;
  useEffect(() => {
    if (changed) sessionStorage.setItem(DRAFT, `${version}\n${text}`);
    else sessionStorage.removeItem(DRAFT);
    setTested(null);
    let over = false;
    const timer = setTimeout(() => {
      post<CheckAnswer>("/rules/check", { text })
        .then((answer) => !over && setChecked(answer))
        .catch(sayError);
    }, CHECK_AFTER_MS);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [text, changed, version]);
  const test = async () => {
    setTesting(true);
    try {
      setTested(await post<RuleTest>("/rules/test", { text, since }));
    } catch (error) {
      sayError(error);
    } finally {
      setTesting(false);
    }
  };
  const bad = checked?.good === false ? "It has errors." : null;
  return (
    <div className="grid">
      <Panel className="span-7" title={`Policy ${version}${changed ? ", changed here" : ""}`} >
        <PolicyText text={text} change={setText} />
        {changed && (
          <div className="row">
            <Button look="plain" onClick={() => setText(before)}>
              Back to the live policy
            </Button>
          </div>
        )}
      </Panel>
      <div className="span-5 stack">
        <Panel title="Check">
          <div id="policy-check" role="status" className="stack tight">
            {checked === null ? (
              <p className="soft">Checking …</p>
            ) : checked.good ? (
              <p className="message good">
                Valid. Rules: {checked.rules ?? 0}; lists: {checked.lists ?? 0}, with {whole(checked.entries ?? 0)} entries.
              </p>
            ) : (
              checked.errors.map((error) => (
                <p key={error} className="message bad">
                  {error}
                </p>
              ))
            )}
            {[...(checked?.warnings ?? []), ...(checked?.expired ?? []).map((name) => `${name}: expired, has no effect`)].map((warning) => (
              <p key={warning} className="message warn">
                {warning}
              </p>
            ))}
          </div>
        </Panel>
        {changed && (
          <Panel title="Difference to the live policy">
            <Diff before={before} after={text} />
          </Panel>
        )}
        <Panel title="On the past" aside={<Segments name="How far back" value={since} options={SINCE} change={setSince} />}>
          <div className="stack">
            <div className="row">
              <Button refused={bad ?? (testing ? "It runs." : null)} onClick={() => void test()}>
                {testing ? "Testing …" : "Test on archived payments"}
              </Button>
              <Button look="primary" refused={may.may ? (bad ?? (changed ? null : "Nothing is changed.")) : may.why} onClick={() => setProposing(true)}>
                Propose …
              </Button>
            </div>
            {tested && <Tested answer={tested} />}
          </div>
        </Panel>
      </div>
      {proposing && (
        <ReasonDialog
          title="Propose this policy"
          verb="Propose"
          open
          close={() => setProposing(false)}
          act={async (why) => {
            const made = await post<{ version: string; policy_version: string }>("/rules/propose", { text, why });
            sessionStorage.removeItem(DRAFT);
            say(`${made.version} with policy ${made.policy_version} awaits approval by somebody else.`);
          }}
        >
          <p className="soft">
            {tested
              ? `On the past it would have changed ${Object.entries(tested.changed).map(([kind, count]) => `${whole(count)} ${kind}`).join(", ") || "nothing"}.`
              : "It was not tested on the past."}{" "}
            It becomes a version that another person approves under Models.
          </p>
          <Diff before={before} after={text} />
        </ReasonDialog>
      )}
    </div>
  );
}

function Tested({ answer }: { answer: RuleTest }) {
  const sums = (by: Record<string, number>) => Object.entries(by).map(([currency, minor]) => ({ currency, minor }));
  const { before, after, labels } = answer;
  return (
    <div className="stack tight" role="status">
      <p>
        {whole(answer.rows)} payments from <Time at={answer.since} /> to <Time at={answer.until} />. Changed: {Object.entries(answer.changed).map(([kind, count]) => `${whole(count)} ${kind}`).join(", ") || "nothing"}.
      </p>
      <p className="quiet small">
        {whole(labels.fraud)} known frauds, {whole(labels.honest)} genuine, {whole(labels.unknown)} too recent for a label, {whole(labels.censored)} declined at the time, of which nobody knows.
      </p>
      <Scroll>
        <table>
          <thead>
            <tr>
              <th>Effect</th>
              <th className="number">Before</th>
              <th className="number">After</th>
            </tr>
          </thead>
          <tbody>
            {(["frauds_caught", "frauds_missed", "false_alarms"] as const).map((name) => (
              <tr key={name}>
                <th>{words(name)}</th>
                <td className="number">{whole(before[name])}</td>
                <td className="number">{whole(after[name])}</td>
              </tr>
            ))}
            {(["caught_minor", "missed_minor", "false_alarms_minor"] as const).map((name) => (
              <tr key={name}>
                <th>{words(name.replace("_minor", ""))}, money</th>
                <td className="number">
                  <Sums sums={sums(before[name])} />
                </td>
                <td className="number">
                  <Sums sums={sums(after[name])} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {Object.keys(answer.rules).length > 0 && (
        <Scroll>
          <table>
            <thead>
              <tr>
                <th>Rule or list</th>
                {["Matched", "Changed", "Fraud", "Genuine", "Declined", "Unknown"].map((name) => (
                  <th key={name} className="number">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {Object.entries(answer.rules).map(([name, found]) => (
                <tr key={name}>
                  <th className="break">{name}</th>
                  {(["matched", "changed", "fraud", "honest", "censored", "unknown"] as const).map((kind) => (
                    <td key={kind} className="number">
                      {whole(found[kind])}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {Object.entries(answer.errors).map(([name, error]) => (
        <p key={name} className="message warn">
          skipped: {name}: {error}
        </p>
      ))}
    </div>
  );
}
