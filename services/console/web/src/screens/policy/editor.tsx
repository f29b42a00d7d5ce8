import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { get, post } from "../../api/client";
import { useMay } from "../../api/session";
import type { RuleTest, Sample } from "../../api/types";
import { Answer, Button, Money, Panel, Scroll, Segments, Sums, Time } from "../../parts/basic";
import { Diff } from "../../parts/diff";
import { ReasonDialog } from "../../parts/dialog";
import { score, whole, words } from "../../parts/format";
import { say, sayError } from "../../parts/toasts";
import { decisionPath, Link } from "../../shell/router";
import { PolicyText } from "./policy_text";

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
export function Editor() {
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
      {answer.samples.length > 0 && (
        <details>
          <summary>
            Payments that it would have decided differently <span className="quiet small">{answer.samples.length}, the newest of each kind</span>
          </summary>
          <Samples rows={answer.samples} />
        </details>
      )}
      {Object.entries(answer.errors).map(([name, error]) => (
        <p key={name} className="message warn">
          skipped: {name}: {error}
        </p>
      ))}
    </div>
  );
}

const LABELS = { fraud: "fraud", honest: "genuine", censored: "declined, nobody knows", unknown: "no label yet" } as const;

function Samples({ rows }: { rows: Sample[] }) {
  return (
    <Scroll tall>
      <table>
        <thead>
          <tr>
            <th>Change</th>
            <th>Payment</th>
            <th className="number">Amount</th>
            <th className="number">Score</th>
            <th>Because</th>
            <th>Label</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row, at) => (
            <tr key={(row.transaction_id ?? "") + String(at)}>
              <td className="nowrap">{row.change}</td>
              <th className="break">{row.transaction_id === null ? "–" : <Link href={decisionPath(row.transaction_id, row.tenant ?? "default")}>{row.transaction_id}</Link>}</th>
              <td className="number">
                <Money minor={row.amount_minor} currency={row.currency} />
              </td>
              <td className="number">{score(row.score)}</td>
              <td className="break">{row.rules.join(", ") || "the score"}</td>
              <td className="nowrap">{LABELS[row.label]}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
