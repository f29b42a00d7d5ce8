import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, post, remove, part } from "../../api/client";
import { useMay } from "../../api/session";
import type { DecisionRow, LabelName } from "../../api/types";
import { Answer, Button, Empty, Field, Panel, Sums, Tag, Time } from "../../parts/basic";
import { ReasonDialog } from "../../parts/dialog";
import { whole, words } from "../../parts/format";
import { NoteForm } from "../../parts/note_form";
import { sumsOf } from "../../parts/sums";
import { say, sayError } from "../../parts/toasts";
import { Link } from "../../shell/router";
import { keyOfRow, PaymentsTable } from "../review/payments_table";
import { CaseState, NameEntity } from "./cases";
import { type CaseHead, decisionsPath, type Entity, KIND_NAMES, keyOf, linksPath, listsPath } from "./entity";

interface CaseEvent {
  at: string;
  by: string;
  action: string;
  text: string;
  detail: Record<string, unknown>;
}

interface CaseWhole extends CaseHead {
  events: CaseEvent[];
  counted: number;
  rows: DecisionRow[];
}

export function CaseScreen({ id }: { id: string }) {
  const found = useQuery({ queryKey: ["case", id], queryFn: ({ signal }) => get<CaseWhole>(`/cases/${part(id)}`, {}, signal), refetchInterval: 30_000 });
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Answer of={found} what={`case ${id}`}>
          {(data) => <Whole of={data} />}
        </Answer>
      </div>
    </main>
  );
}

function Whole({ of }: { of: CaseWhole }) {
  const queries = useQueryClient();
  const again = () => queries.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] === "case" || queryKey[0] === "cases" });
  return (
    <>
      <Head of={of} again={again} />
      <div className="grid">
        <Entities of={of} again={again} />
        <History of={of} again={again} />
        <Payments of={of} again={again} />
      </div>
    </>
  );
}

interface Part {
  of: CaseWhole;
  again: () => Promise<unknown>;
}

type Asked = "assign" | "escalate" | "close" | "reopen";
const ACTIONS: Record<Asked, { verb: string; title: string; text: string }> = {
  assign: { verb: "Assign", title: "Assign the case", text: "Who goes on with it." },
  escalate: { verb: "Escalate", title: "Escalate the case", text: "To somebody who knows or may more; it is marked as escalated." },
  close: { verb: "Close", title: "Close the case", text: "Its payments stay as they are labelled." },
  reopen: { verb: "Open again", title: "Open the case again", text: "It is assigned to you." },
};
const OUTCOMES = ["fraud", "genuine", "unclear"] as const;

function Head({ of, again }: Part) {
  const may = useMay("label");
  const [asked, setAsked] = useState<Asked | null>(null);
  const [to, setTo] = useState("");
  const [outcome, setOutcome] = useState<(typeof OUTCOMES)[number]>("fraud");
  const refused = may.may ? null : may.why;
  const act = async (why: string) => {
    if (asked === null) return;
    await post(`/cases/${of.case}/${asked}`, { why, ...(asked === "close" ? { outcome } : asked === "reopen" ? {} : { to: to.trim() }) });
    await again();
    say(asked === "close" ? `Case ${of.case} is closed.` : asked === "reopen" ? `Case ${of.case} is open again.` : `${to.trim()} has case ${of.case} now.`);
  };
  const offered: Asked[] = of.state === "closed" ? ["reopen"] : ["assign", "escalate", "close"];
  return (
    <div className="row wrap apart">
      <div className="row wrap">
        <h2 className="title break">
          Case {of.case}: {of.title}
        </h2>
        <CaseState of={of} />
        {of.tenant !== "default" && <Tag>tenant {of.tenant}</Tag>}
        <span className="soft">
          with {of.assignee ?? "nobody"}; opened <Time at={of.opened_at} /> by {of.opened_by}
        </span>
      </div>
      <div className="row wrap no-print">
        {offered.map((one) => (
          <Button key={one} refused={refused} onClick={() => setAsked(one)}>
            {ACTIONS[one].verb} …
          </Button>
        ))}
        <a className="button plain" href={`/api/v1/cases/${of.case}/export`} download>
          Export as JSON
        </a>
        <Button look="plain" onClick={() => print()}>
          Print
        </Button>
      </div>
      {asked && (
        <ReasonDialog title={ACTIONS[asked].title} verb={ACTIONS[asked].verb} why="It stands in the case beside your name." close={() => setAsked(null)} act={act}>
          <p className="soft">{ACTIONS[asked].text}</p>
          {(asked === "assign" || asked === "escalate") && (
            <Field name="Colleague">{(id) => <input id={id} className="input" required maxLength={64} value={to} onChange={(event) => setTo(event.target.value)} />}</Field>
          )}
          {asked === "close" && (
            <Field name="What came of it">
              {(id) => (
                <select id={id} className="input" value={outcome} onChange={(event) => setOutcome(event.target.value as typeof outcome)}>
                  {OUTCOMES.map((one) => (
                    <option key={one}>{one}</option>
                  ))}
                </select>
              )}
            </Field>
          )}
        </ReasonDialog>
      )}
    </div>
  );
}

function Entities({ of, again }: Part) {
  const may = useMay("label");
  const [naming, setNaming] = useState(false);
  const [adding, setAdding] = useState<Entity | null>(null);
  return (
    <Panel
      className="span-5"
      title="About"
      aside={
        of.state === "closed" ? null : (
          <Button look="plain" className="button plain no-print" refused={may.may ? null : may.why} onClick={() => setNaming(true)}>
            Add …
          </Button>
        )
      }
      bare
    >
      <table>
        <tbody>
          {of.entities.map((entity) => (
            <tr key={keyOf(entity)}>
              <td className="soft">{KIND_NAMES[entity.kind]}</td>
              <th className="break">
                <Link href={decisionsPath(entity, of.tenant)}>{entity.id}</Link>
              </th>
              <td className="right no-print">
                <Link href={linksPath(entity, of.tenant)}>Links</Link>
                {of.state !== "closed" && (
                  <>
                    {" · "}
                    <Link href={listsPath(entity, of.case)}>Put on a list</Link>
                  </>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {naming && (
        <NameEntity
          fixed={of.tenant}
          close={() => setNaming(false)}
          done={(entity) => {
            setNaming(false);
            setAdding(entity);
          }}
        />
      )}
      {adding && (
        <ReasonDialog
          title={`Add ${KIND_NAMES[adding.kind]} ${adding.id}`}
          verb="Add"
          why="It stands in the case beside your name."
          close={() => setAdding(null)}
          act={async (why) => {
            await post(`/cases/${of.case}/entities`, { entity: adding, why });
            await again();
          }}
        />
      )}
    </Panel>
  );
}

/** What an entry of a case says beside its text. */
function said({ action, detail }: CaseEvent): string {
  const list = (value: unknown): string => (Array.isArray(value) ? value.map((one) => (Array.isArray(one) ? String(one[1]) : String(one))).join(", ") : String(value));
  const { to, label, payments, entities, outcome, list: name, mode, version } = detail;
  if (action === "labelled") return `labelled ${String(payments)} payments as ${label === "fraud" ? "fraud" : "genuine"}`;
  if (action === "proposed") return `proposed to ${String(mode)} ${list(entities ?? detail.entries)}, list ${String(name)}${version ? `, version ${String(version)}` : ""}`;
  if (to) return `${action} to ${String(to)}`;
  if (outcome) return `closed as ${String(outcome)}`;
  if (entities) return action === "opened" ? `opened the case about ${list(entities)}` : `${action} ${list(entities)}`;
  return words(action);
}

function History({ of, again }: Part) {
  const may = useMay("label");
  const add = async (text: string) => {
    await post(`/cases/${of.case}/notes`, { text });
    await again();
  };
  return (
    <Panel className="span-7" title="What was done" aside={<span className="quiet small">the newest first</span>}>
      <div className="stack">
        {of.state !== "closed" && <NoteForm refused={may.may ? null : may.why} add={add} />}
        <ul className="history">
          {[...of.events].reverse().map((event, at) => (
            <li key={event.at + String(at)}>
              <span className="soft">
                <Time at={event.at} /> <span className="strong">{event.by}</span> {event.action === "note" ? "noted" : said(event)}
              </span>
              <span className="break">{event.text}</span>
            </li>
          ))}
        </ul>
      </div>
    </Panel>
  );
}

function Payments({ of, again }: Part) {
  const may = useMay("label");
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [label, setLabel] = useState<LabelName | null>(null);
  const rows = of.rows.filter((row) => picked.has(keyOfRow(row)));
  const refused = !may.may ? may.why : of.state === "closed" ? "The case is closed." : rows.length === 0 ? "Select payments first." : rows.length > 500 ? "At most 500 at once." : null;
  const word = label === "fraud" ? "fraud" : "genuine";
  const act = async (why: string) => {
    const made = await post<{ accepted: string[]; refused: { transaction_id: string; reason: string }[]; sends_at: string | null }>(`/cases/${of.case}/label`, {
      label,
      why,
      transaction_ids: rows.map((row) => row.transaction_id),
    });
    setPicked(new Set());
    await again();
    const rest = made.refused.length > 0 ? `; ${made.refused.length} refused: ${made.refused[0]?.reason ?? ""}` : "";
    say(`${made.accepted.length} labelled as ${word}${rest}`, {
      untilMs: made.sends_at ? new Date(made.sends_at).getTime() : undefined,
      undo: async () => {
        for (const id of made.accepted) await remove(`/queue/${part(id)}/label`, { tenant: of.tenant });
        await again().catch(sayError);
      },
    });
  };
  return (
    <Panel
      className="span-12"
      title={of.counted === 1 ? "1 payment" : `${whole(of.counted)} payments`}
      aside={
        <div className="row wrap no-print">
          <span className="quiet small">
            {rows.length > 0 ? `${rows.length} selected, ` : of.counted > of.rows.length ? `the newest ${of.rows.length}, ` : ""}
            <Sums sums={sumsOf(rows.length > 0 ? rows : of.rows)} />
          </span>
          <Button look="danger" refused={refused} onClick={() => setLabel("fraud")}>
            Fraud …
          </Button>
          <Button refused={refused} onClick={() => setLabel("legit")}>
            Genuine …
          </Button>
        </div>
      }
      bare
    >
      {of.rows.length === 0 ? (
        <Empty title="No payment is kept">The console keeps payments that were not approved, for 30 days.</Empty>
      ) : (
        <PaymentsTable rows={of.rows} picking={{ picked, set: setPicked }} />
      )}
      {label && (
        <ReasonDialog title={`Label ${rows.length} payments as ${word}?`} verb={`Label ${rows.length} as ${word}`} danger={label === "fraud"} why="It stands in the case beside your name." close={() => setLabel(null)} act={act}>
          <p className="soft">
            Together <Sums sums={sumsOf(rows)} />. They can be undone for 10 seconds, then the labels are sent.
          </p>
        </ReasonDialog>
      )}
    </Panel>
  );
}
