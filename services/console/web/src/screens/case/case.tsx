import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, post } from "../../api/client";
import { useMay } from "../../api/session";
import type { DecisionRow } from "../../api/types";
import { Answer, Button, Field, Panel, Screen, Tag, Time } from "../../parts/basic";
import { ReasonDialog } from "../../parts/dialog";
import { words } from "../../parts/format";
import { NoteForm } from "../../parts/note_form";
import { say } from "../../parts/toasts";
import { Link } from "../../shell/router";
import { Colleague } from "../review/colleagues";
import { CaseState, NameEntity } from "./cases";
import { type CaseHead, decisionsPath, type Entity, KIND_NAMES, keyOf, linksPath, listsPath } from "./entity";
import { Payments } from "./payments";

interface CaseEvent {
  at: string;
  by: string;
  action: string;
  text: string;
  detail: Record<string, unknown>;
}

export interface CaseWhole extends CaseHead {
  events: CaseEvent[];
  counted: number;
  rows: DecisionRow[];
}

export function CaseScreen({ id }: { id: string }) {
  const found = useQuery({ queryKey: ["case", id], queryFn: ({ signal }) => get<CaseWhole>(`/cases/${part(id)}`, {}, signal), refetchInterval: 30_000 });
  return (
    <Screen>
      <Answer of={found} what={`case ${id}`}>
        {(data) => <Whole of={data} />}
      </Answer>
    </Screen>
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

export interface Part {
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
            <Colleague value={to} change={setTo} />
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
