import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get, part, Problem } from "../../api/client";
import { Answer, Button, Panel, Tag, Time } from "../../parts/basic";
import { Facts } from "../../parts/facts";
import { Link } from "../../shell/router";
import { runbookOf } from "./runbooks";

interface Diagnosis {
  healthy: boolean;
  findings: { what: string; since: string | null; runbook: string; wrong: boolean }[];
}

/** What is wrong with the stack, causes before what follows from them; nothing where the stack's console cannot say. */
export function Doctor() {
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
export function Reconcile() {
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
