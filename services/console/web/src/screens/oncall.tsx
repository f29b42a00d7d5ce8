import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, post, Problem } from "../api/client";
import { useMay } from "../api/session";
import type { Alert, StackStatus } from "../api/types";
import { Answer, Button, Empty, Field, Panel, Scroll, Tag, Time } from "../parts/basic";
import { ReasonDialog } from "../parts/dialog";
import { Facts } from "../parts/facts";
import { number, whole, words } from "../parts/format";
import { Markdown } from "../parts/markdown";
import { say } from "../parts/toasts";
import { Link } from "../shell/router";

interface Pages {
  /** null: Alertmanager does not answer */
  firing: Alert[] | null;
  history: { received_at: string; status: string; alert: string; severity: string; summary: string }[];
}

/** The name of a runbook: the last part of its address. */
const runbookOf = (alert: { alert: string; runbook?: string }): string => (alert.runbook ?? "").split("/").pop()?.replace(/\.md$|[?#].*$/g, "") || alert.alert;

export function OnCall() {
  const pages = useQuery({ queryKey: ["pages"], queryFn: ({ signal }) => get<Pages>("/pages", { history: 50 }, signal), refetchInterval: 10_000 });
  const status = useQuery({ queryKey: ["status"], queryFn: ({ signal }) => get<StackStatus>("/status", {}, signal), refetchInterval: 10_000 });
  const runbooks = useQuery({ queryKey: ["runbooks"], queryFn: ({ signal }) => get<string[]>("/runbooks", {}, signal), staleTime: Number.POSITIVE_INFINITY });
  const [silencing, setSilencing] = useState<string | null>(null);
  const may = useMay("operate");
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Panel title="Firing now" aside={<span className="quiet small">pages first</span>} bare>
          <Answer of={pages} what="alerts">
            {(data) =>
              data.firing === null ? (
                <Empty title="Alertmanager does not answer">Which alerts fire cannot be said now. `tollgate status` says which process is away.</Empty>
              ) : data.firing.length === 0 ? (
                <Empty title="No alert fires" />
              ) : (
                <Scroll>
                  <table>
                    <thead>
                      <tr>
                        <th>Severity</th>
                        <th>Alert</th>
                        <th>Since</th>
                        <th>Summary</th>
                        <th>Act</th>
                      </tr>
                    </thead>
                    <tbody>
                      {data.firing.map((alert) => (
                        <tr key={alert.alert + alert.since}>
                          <td>
                            <Tag tone={alert.silenced ? "" : alert.severity === "page" ? "bad" : alert.severity === "ticket" ? "warn" : ""}>{alert.severity}</Tag>
                          </td>
                          <th>
                            {alert.alert} {alert.silenced && <span className="quiet small">silenced or a consequence</span>}
                          </th>
                          <td>
                            <Time at={alert.since} />
                          </td>
                          <td className="soft break">{alert.summary}</td>
                          <td className="nowrap">
                            <div className="row">
                              <Link className="button" href={`/oncall/runbooks/${part(runbookOf(alert))}`}>
                                Runbook
                              </Link>
                              <Button look="plain" refused={may.may ? null : may.why} onClick={() => setSilencing(alert.alert)}>
                                Silence …
                              </Button>
                            </div>
                          </td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </Scroll>
              )
            }
          </Answer>
        </Panel>
        <div className="grid">
          <Panel className="span-8" title="Processes" aside={status.data && <Tag tone={status.data.state === "ready" ? "good" : "warn"}>{status.data.state}</Tag>} bare>
            <Answer of={status} what="the processes">
              {(data) => (
                <>
                  {(data.problems ?? []).length > 0 && (
                    <div className="body stack tight">
                      {(data.problems ?? []).map((problem) => (
                        <p key={problem} className="message warn">
                          {problem}
                        </p>
                      ))}
                    </div>
                  )}
                  <Scroll>
                    <table>
                      <thead>
                        <tr>
                          <th>Process</th>
                          <th>State</th>
                          <th className="number">Restarts</th>
                          <th className="number">Memory, MB</th>
                          <th className="number">CPU, s</th>
                          <th className="number">pid</th>
                        </tr>
                      </thead>
                      <tbody>
                        {data.processes.map((process) => (
                          <tr key={process.name}>
                            <th>{process.name}</th>
                            <td>{process.state === "running" ? "running" : <Tag tone="bad">{process.state}</Tag>}</td>
                            <td className="number">{process.restarts}</td>
                            <td className="number">{process.rss_mb === null ? "–" : whole(process.rss_mb)}</td>
                            <td className="number">{process.cpu_s === null ? "–" : number(process.cpu_s, 4)}</td>
                            <td className="number quiet">{process.pid ?? "–"}</td>
                          </tr>
                        ))}
                      </tbody>
                    </table>
                  </Scroll>
                </>
              )}
            </Answer>
          </Panel>
          <div className="span-4 stack">
            <Doctor />
            <Reconcile />
            <Panel title="Runbooks">
              <Answer of={runbooks} what="runbooks">
                {(names) => (
                  <ul className="columns">
                    {names.map((name) => (
                      <li key={name}>
                        <Link href={`/oncall/runbooks/${part(name)}`}>{name}</Link>
                      </li>
                    ))}
                  </ul>
                )}
              </Answer>
            </Panel>
          </div>
        </div>
        <Panel title="Sent" aside={<span className="quiet small">the newest 50, firing and resolved</span>} bare>
          <Answer of={pages} what="what was sent">
            {(data) =>
              data.history.length === 0 ? (
                <Empty title="Nothing was sent yet" />
              ) : (
                <Scroll tall>
                  <table>
                    <thead>
                      <tr>
                        <th>When</th>
                        <th>State</th>
                        <th>Severity</th>
                        <th>Alert</th>
                        <th>Summary</th>
                      </tr>
                    </thead>
                    <tbody>
                      {[...data.history].reverse().map((page, at) => (
                        <tr key={page.received_at + page.alert + String(at)}>
                          <td>
                            <Time at={page.received_at} />
                          </td>
                          <td>{page.status}</td>
                          <td>{page.severity}</td>
                          <th>{page.alert}</th>
                          <td className="soft break">{page.summary}</td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </Scroll>
              )
            }
          </Answer>
        </Panel>
      </div>
      {silencing && <Silence alert={silencing} close={() => setSilencing(null)} />}
    </main>
  );
}

interface Diagnosis {
  healthy: boolean;
  findings: { what: string; since: string | null; runbook: string; wrong: boolean }[];
}

/** What is wrong with the stack, causes before what follows from them; nothing where the stack's console cannot say. */
function Doctor() {
  const found = useQuery({ queryKey: ["doctor"], queryFn: ({ signal }) => get<Diagnosis>("/doctor", {}, signal), refetchInterval: 15_000 });
  if (found.error instanceof Problem && found.error.status === 404) return null;
  return (
    <Panel title="Diagnosis" aside={<span className="quiet small">the likely cause first</span>}>
      <Answer of={found} what="the diagnosis">
        {(data) =>
          data.findings.length === 0 ? (
            <p className="soft">Nothing is wrong: every process answers, every partition moves, no alert fires.</p>
          ) : (
            <ol className="stack tight">
              {data.findings.map((finding) => (
                <li key={finding.what}>
                  <Tag tone={finding.wrong ? "bad" : "warn"}>{finding.wrong ? "wrong" : "ticket"}</Tag> <span className="break">{finding.what}</span>{" "}
                  <Link href={`/oncall/runbooks/${part(runbookOf({ alert: "", runbook: finding.runbook }))}`}>runbook</Link>
                  {finding.since && (
                    <span className="quiet small">
                      {" "}
                      since <Time at={finding.since} />
                    </span>
                  )}
                </li>
              ))}
            </ol>
          )
        }
      </Answer>
    </Panel>
  );
}

/** Counts every transaction and its outcome from Kafka's topics; asked for, because it reads the log. */
function Reconcile() {
  const [asked, setAsked] = useState(false);
  const found = useQuery({ queryKey: ["reconcile"], queryFn: ({ signal }) => get<Record<string, number | boolean>>("/reconcile", {}, signal), enabled: asked, staleTime: 0, gcTime: 0, retry: false });
  return (
    <Panel
      title="Reconciliation"
      aside={
        <Button refused={asked && found.isFetching ? "It is being counted." : null} onClick={() => (asked ? void found.refetch() : setAsked(true))}>
          {asked && found.isFetching ? "Counting …" : "Count now"}
        </Button>
      }
    >
      {!asked ? (
        <p className="soft">Counts from the topics that every transaction has exactly one outcome. Takes seconds.</p>
      ) : (
        <Answer of={found} what="the log">
          {(data) => (
            <div className="stack tight">
              <p>{data.balanced ? <Tag tone="good">balanced</Tag> : <Tag tone="bad">not balanced</Tag>}</p>
              <Facts value={Object.fromEntries(Object.entries(data).filter(([name]) => name !== "balanced"))} />
            </div>
          )}
        </Answer>
      )}
    </Panel>
  );
}

const LENGTHS = [
  ["30", "30 min"],
  ["120", "2 h"],
  ["480", "8 h"],
  ["1440", "1 d"],
] as const;

function Silence({ alert, close }: { alert: string; close: () => void }) {
  const queries = useQueryClient();
  const [minutes, setMinutes] = useState("30");
  const act = async (why: string) => {
    const made = await post<{ until: string }>("/silences", { alert, minutes: Number(minutes), why });
    say(`${alert} is silent until ${new Date(made.until).toLocaleTimeString("en-GB")}.`);
    await queries.invalidateQueries({ queryKey: ["pages"] });
  };
  return (
    <ReasonDialog title={`Silence ${alert}`} verb="Silence" why="Shown to whoever looks for the missing page." close={close} act={act}>
      <Field name="For">
        {(id) => (
          <select id={id} className="input" value={minutes} onChange={(event) => setMinutes(event.target.value)}>
            {LENGTHS.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        )}
      </Field>
    </ReasonDialog>
  );
}

export function Runbook({ id }: { id: string }) {
  const found = useQuery({ queryKey: ["runbook", id], queryFn: ({ signal }) => get<{ name: string; text: string }>(`/runbooks/${part(id)}`, {}, signal) });
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <p>
          <Link href="/oncall">On call</Link> <span className="quiet">/ {words(id)}</span>
        </p>
        <Answer of={found} what="the runbook">
          {(data) => <Markdown text={data.text} />}
        </Answer>
      </div>
    </main>
  );
}
