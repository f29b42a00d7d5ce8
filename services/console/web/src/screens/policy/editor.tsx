import { useQuery } from "@tanstack/react-query";
import { type RefObject, useEffect, useRef, useState } from "react";
import { get, post } from "../../api/client";
import { useMay } from "../../api/session";
import type { RuleTest } from "../../api/types";
import { Answer, Button, Panel, Segments } from "../../parts/basic";
import { Diff } from "../../parts/diff";
import { ReasonDialog } from "../../parts/dialog";
import { whole } from "../../parts/format";
import { attempt, say, sayError } from "../../parts/toasts";
import { placeOf, PolicyText } from "./policy_text";
import { changesOf, Tested } from "./tested";

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
/** shown above a line that is jumped to */
const CONTEXT_LINES = 4;

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
  const place = useRef<HTMLTextAreaElement>(null);
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
  const latest = useRef(text);
  latest.current = text;
  const test = () => {
    setTesting(true);
    attempt(async () => {
      const answer = await post<RuleTest>("/rules/test", { text, since }).finally(() => setTesting(false));
      // what was changed meanwhile has not been tested
      if (latest.current === text) setTested(answer);
    });
  };
  const bad = checked?.good === false ? "It has errors." : null;
  return (
    <div className="grid">
      <Panel className="span-7" title={`Policy ${version}${changed ? ", changed here" : ""}`} >
        <PolicyText text={text} change={setText} place={place} />
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
                  <Line of={placeOf(text, error)} place={place} /> {error}
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
              <Button refused={bad ?? (testing ? "It runs." : null)} onClick={test}>
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
              ? `On the past it would have changed ${changesOf(tested)}.`
              : "It was not tested on the past."}{" "}
            It becomes a version that another person approves under Models.
          </p>
          <Diff before={before} after={text} />
        </ReasonDialog>
      )}
    </div>
  );
}

/** Leads from an error to its line. */
function Line({ of, place }: { of: ReturnType<typeof placeOf>; place: RefObject<HTMLTextAreaElement | null> }) {
  if (of === null) return null;
  const go = () => {
    const area = place.current;
    if (area === null) return;
    area.focus();
    area.setSelectionRange(of.from, of.to);
    // a selection alone does not bring its line into sight
    area.scrollTop = (of.line - CONTEXT_LINES) * Number.parseFloat(getComputedStyle(area).lineHeight);
  };
  return (
    <button type="button" className="as-link" onClick={go}>
      Line {of.line}
    </button>
  );
}
