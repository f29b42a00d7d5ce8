import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get, part } from "../../api/client";
import { useMay } from "../../api/session";
import type { Alert, StackStatus } from "../../api/types";
import { Answer, Button, Empty, Panel, Screen, Tag, Time } from "../../parts/basic";
import { number, whole } from "../../parts/format";
import { Listed, Table } from "../../parts/table";
import { Link } from "../../shell/router";
import { Doctor, Reconcile } from "./looks";
import { runbookOf, Runbooks } from "./runbooks";
import { Silence } from "./silence";

interface Pages {
  /** null: Alertmanager does not answer */
  firing: Alert[] | null;
  history: { received_at: string; status: string; alert: string; severity: string; summary: string }[];
}

const SUMMARY = { name: "Summary", look: "soft break", cell: ({ summary }: { summary: string }) => summary };

export function OnCall() {
  const pages = useQuery({ queryKey: ["pages"], queryFn: ({ signal }) => get<Pages>("/pages", { history: 50 }, signal), refetchInterval: 10_000 });
  const [silencing, setSilencing] = useState<string | null>(null);
  return (
    <Screen>
      <Panel title="Firing now" aside={<span className="quiet small">pages first</span>} bare>
        <Answer of={pages} what="alerts">
          {({ firing }) =>
            firing === null ? (
              <Empty title="Alertmanager does not answer">Which alerts fire cannot be said now. `tollgate status` says which process is away.</Empty>
            ) : firing.length === 0 ? (
              <Empty title="No alert fires" />
            ) : (
              <Firing rows={firing} silence={setSilencing} />
            )
          }
        </Answer>
      </Panel>
      <div className="grid">
        <Processes />
        <div className="span-4 stack">
          <Doctor />
          <Reconcile />
          <Runbooks />
        </div>
      </div>
      <Panel title="Sent" aside={<span className="quiet small">the newest 50, firing and resolved</span>} bare>
        <Listed
          of={pages}
          what="what was sent"
          rows={({ history }) => [...history].reverse()}
          empty={<Empty title="Nothing was sent yet" />}
          keyOf={(page, at) => page.received_at + page.alert + String(at)}
          tall
          columns={[
            { name: "When", cell: (page) => <Time at={page.received_at} /> },
            { name: "State", cell: (page) => page.status },
            { name: "Severity", cell: (page) => page.severity },
            { name: "Alert", heads: true, cell: (page) => page.alert },
            SUMMARY,
          ]}
        />
      </Panel>
      {silencing && <Silence alert={silencing} close={() => setSilencing(null)} />}
    </Screen>
  );
}

const toneOf = ({ silenced, severity }: Alert) => (silenced ? "" : severity === "page" ? "bad" : severity === "ticket" ? "warn" : "");

function Firing({ rows, silence }: { rows: Alert[]; silence: (alert: string) => void }) {
  const may = useMay("operate");
  return (
    <Table
      rows={rows}
      keyOf={(alert) => alert.alert + alert.since}
      columns={[
        { name: "Severity", cell: (alert) => <Tag tone={toneOf(alert)}>{alert.severity}</Tag> },
        {
          name: "Alert",
          heads: true,
          cell: ({ alert, silenced }) => (
            <>
              {alert} {silenced && <span className="quiet small">silenced or a consequence</span>}
            </>
          ),
        },
        { name: "Since", cell: (alert) => <Time at={alert.since} /> },
        SUMMARY,
        {
          name: "Act",
          look: "nowrap",
          cell: (alert) => (
            <div className="row">
              <Link className="button" href={`/oncall/runbooks/${part(runbookOf(alert))}`}>
                Runbook
              </Link>
              <Button look="plain" refused={may.may ? null : may.why} onClick={() => silence(alert.alert)}>
                Silence …
              </Button>
            </div>
          ),
        },
      ]}
    />
  );
}

function Processes() {
  const status = useQuery({ queryKey: ["status"], queryFn: ({ signal }) => get<StackStatus>("/status", {}, signal), refetchInterval: 10_000 });
  const problems = status.data?.problems ?? [];
  return (
    <Panel className="span-8" title="Processes" aside={status.data && <Tag tone={status.data.state === "ready" ? "good" : "warn"}>{status.data.state}</Tag>} bare>
      {problems.length > 0 && (
        <div className="body stack tight">
          {problems.map((problem) => (
            <p key={problem} className="message warn">
              {problem}
            </p>
          ))}
        </div>
      )}
      <Listed
        of={status}
        what="the processes"
        rows={({ processes }) => processes}
        empty={<Empty title="No process is known" />}
        keyOf={({ name }) => name}
        columns={[
          { name: "Process", heads: true, cell: ({ name }) => name },
          { name: "State", cell: ({ state }) => (state === "running" ? state : <Tag tone="bad">{state}</Tag>) },
          { name: "Restarts", look: "number", cell: ({ restarts }) => restarts },
          { name: "Memory, MB", look: "number", cell: ({ rss_mb }) => (rss_mb === null ? "–" : whole(rss_mb)) },
          { name: "CPU, s", look: "number", cell: ({ cpu_s }) => (cpu_s === null ? "–" : number(cpu_s, 4)) },
          { name: "pid", look: "number quiet", cell: ({ pid }) => pid ?? "–" },
        ]}
      />
    </Panel>
  );
}
