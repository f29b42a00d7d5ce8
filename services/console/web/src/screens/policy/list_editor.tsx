import { useRef, useState } from "react";
import { part, post } from "../../api/client";
import { useMay, useSession } from "../../api/session";
import { Button, Field, Panel, Segments, Tag, Time } from "../../parts/basic";
import { ReasonDialog } from "../../parts/dialog";
import { whole } from "../../parts/format";
import { Table } from "../../parts/table";
import { attempt, say } from "../../parts/toasts";
import { useParam } from "../../shell/router";
import type { ListEntry, ListWhole } from "./list";

type Fate = "new" | "changed" | "removed" | "same";
interface Preview {
  good: boolean;
  errors: string[];
  warnings: string[];
  counts: Record<Fate, number>;
  rows: (ListEntry & { fate: Fate })[];
  policy_version: string;
}

type Mode = "add" | "replace" | "remove";
const MODES = [
  ["add", "Add or renew"],
  ["remove", "Take off"],
  ["replace", "Replace all"],
] as const;
const FATES: Record<Fate, "good" | "accent" | "bad" | ""> = { new: "good", changed: "accent", removed: "bad", same: "" };
const FIELDS = ["card_id", "device_id", "ip", "merchant_id", "customer_id"];
const DEFAULT_DAYS = 90;

interface About {
  kind: string;
  field: string;
  owner: string;
  reason: string;
}

/** A change of a list from CSV: what it would do and what is wrong with it is shown first, then another person approves it. */
export function ListEditor({ name, list, start }: { name: string; list: ListWhole | null; start: string }) {
  const may = useMay("propose", true);
  const session = useSession();
  const [value] = useParam("value");
  const [number] = useParam("case");
  const [field] = useParam("field", "card_id");
  const [mode, setMode] = useState<Mode>("add");
  const [csv, setCsv] = useState(start || (value ? `value\n${value}\n` : "value\n"));
  const [about, setAbout] = useState<About>({ kind: "block", field, owner: session.person, reason: "" });
  const [until, setUntil] = useState(() => (list === null ? new Date(Date.now() + DEFAULT_DAYS * 86_400_000).toISOString().slice(0, 10) : ""));
  const [shown, setShown] = useState<Preview | null>(null);
  const [busy, setBusy] = useState(false);
  const [proposing, setProposing] = useState(false);
  const body = { mode, csv, expires: until ? `${until}T00:00:00Z` : null, ...(list === null ? about : {}) };
  const edit = <Value,>(set: (value: Value) => void) => (to: Value) => {
    setShown(null);
    set(to);
  };
  const asked = useRef("");
  asked.current = JSON.stringify(body);
  const preview = () => {
    const before = asked.current;
    setBusy(true);
    attempt(async () => {
      const answer = await post<Preview>(`/lists/${part(name)}/preview`, body).finally(() => setBusy(false));
      // what was changed meanwhile has not been looked at
      if (asked.current === before) setShown(answer);
    });
  };
  const changes = shown ? shown.counts.new + shown.counts.changed + shown.counts.removed : 0;
  const refused = !may.may ? may.why : shown === null ? "See first what it would do." : !shown.good ? "It has errors." : changes === 0 ? "It changes nothing." : null;
  const text = (what: keyof About, title: string, hint = "") => (
    <Field name={title} hint={hint}>
      {(id) => <input id={id} className="input" maxLength={300} value={about[what]} onChange={(event) => edit(setAbout)({ ...about, [what]: event.target.value })} />}
    </Field>
  );
  return (
    <div className="stack">
      {list === null && (
        <Panel title="What it is">
          <div className="stack tight">
            <Field name="Kind" hint="Block declines, allow approves whatever else is said, watch gives at least a review.">
              {(id) => (
                <select id={id} className="input" value={about.kind} onChange={(event) => edit(setAbout)({ ...about, kind: event.target.value })}>
                  {["block", "allow", "watch"].map((one) => (
                    <option key={one}>{one}</option>
                  ))}
                </select>
              )}
            </Field>
            <Field name="Field">
              {(id) => (
                <select id={id} className="input" value={about.field} onChange={(event) => edit(setAbout)({ ...about, field: event.target.value })}>
                  {FIELDS.map((one) => (
                    <option key={one}>{one}</option>
                  ))}
                </select>
              )}
            </Field>
            {text("owner", "Owner")}
            {text("reason", "Reason", "Who answers the customer reads it.")}
          </div>
        </Panel>
      )}
      <Panel title={list === null ? "Entries" : "Change it"} aside={<Segments name="What is done" value={mode} options={MODES} change={edit(setMode)} />}>
        <div className="stack tight">
          <Field name="Entries as CSV" hint="The column value; optionally expires, owner, reason. Separated by commas, semicolons or tabs.">
            {(id) => <textarea id={id} className="input code" rows={8} spellCheck={false} value={csv} onChange={(event) => edit(setCsv)(event.target.value)} />}
          </Field>
          <Field name="Or from a file">
            {(id) => (
              <input
                id={id}
                type="file"
                accept=".csv,.txt,text/csv,text/plain"
                onChange={(event) => {
                  const file = event.target.files?.[0];
                  if (file) attempt(() => file.text().then(edit(setCsv)));
                }}
              />
            )}
          </Field>
          {mode !== "remove" && (
            <Field name={list === null ? "Entries expire on" : "These entries expire on"} hint={list === null ? "At 00:00 UTC, unless an entry says otherwise." : list.expires ? `At 00:00 UTC. Empty: with the list, on ${list.expires.slice(0, 10)}.` : "At 00:00 UTC. Empty: each entry needs its own."}>
              {(id) => <input id={id} type="date" className="input" value={until} onChange={(event) => edit(setUntil)(event.target.value)} />}
            </Field>
          )}
          <div className="row wrap">
            <Button refused={busy ? "It is being looked at." : null} onClick={preview}>
              {busy ? "Looking …" : "What would it do?"}
            </Button>
            <Button look="primary" refused={refused} onClick={() => setProposing(true)}>
              Propose …
            </Button>
            {number && <span className="soft small">for case {number}</span>}
          </div>
        </div>
      </Panel>
      {shown && <Shown of={shown} />}
      {proposing && shown && (
        <ReasonDialog
          title={`Propose a change of list ${name}`}
          verb="Propose"
          close={() => setProposing(false)}
          act={async (why) => {
            const made = await post<{ version: string; policy_version: string }>(`/lists/${part(name)}/propose`, { ...body, why, case: number ? Number(number) : null });
            setShown(null);
            say(`${made.version} with policy ${made.policy_version} awaits approval by somebody else.`);
          }}
        >
          <p className="soft">{summary(shown)} It becomes a version that another person approves under Models.</p>
        </ReasonDialog>
      )}
    </div>
  );
}

const summary = ({ counts }: Preview): string =>
  `${(["new", "changed", "removed", "same"] as const)
    .filter((fate) => counts[fate] > 0)
    .map((fate) => `${whole(counts[fate])} ${fate === "same" ? "stay" : fate}`)
    .join(", ")}.`;

function Shown({ of }: { of: Preview }) {
  return (
    <Panel title="What it would do" bare>
      <div className="body stack tight" role="status">
        {of.errors.map((error) => (
          <p key={error} className="message bad break">
            {error}
          </p>
        ))}
        {of.good && <p className="message good">{summary(of)}</p>}
        {of.warnings.map((warning) => (
          <p key={warning} className="message warn break">
            {warning}
          </p>
        ))}
      </div>
      {of.rows.length > 0 && (
        <Table
          rows={of.rows}
          keyOf={(row) => row.fate + row.value}
          tall
          columns={[
            { name: "Entry", cell: ({ fate }) => <Tag tone={FATES[fate]}>{fate}</Tag> },
            { name: "Value", look: "mono break", heads: true, cell: (row) => row.value },
            {
              name: "Expires",
              cell: (row) => (
                <>
                  <Time at={row.expires} /> {row.expired && <Tag tone="warn">expired</Tag>}
                </>
              ),
            },
            { name: "Reason", look: "soft break", cell: (row) => row.reason },
          ]}
        />
      )}
    </Panel>
  );
}
