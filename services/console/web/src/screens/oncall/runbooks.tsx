import { useQuery } from "@tanstack/react-query";
import { get, part } from "../../api/client";
import { Answer, Panel, Screen } from "../../parts/basic";
import { words } from "../../parts/format";
import { Markdown } from "../../parts/markdown";
import { Link } from "../../shell/router";

/** The name of a runbook: the last part of its address. */
export const runbookOf = (alert: { alert: string; runbook?: string }): string => (alert.runbook ?? "").split("/").pop()?.replace(/\.md$|[?#].*$/g, "") || alert.alert;

export function Runbooks() {
  const runbooks = useQuery({ queryKey: ["runbooks"], queryFn: ({ signal }) => get<string[]>("/runbooks", {}, signal), staleTime: Number.POSITIVE_INFINITY });
  return (
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
  );
}

export function Runbook({ id }: { id: string }) {
  const found = useQuery({ queryKey: ["runbook", id], queryFn: ({ signal }) => get<{ name: string; text: string }>(`/runbooks/${part(id)}`, {}, signal) });
  return (
    <Screen>
      <p>
        <Link href="/oncall">On call</Link> <span className="quiet">/ {words(id)}</span>
      </p>
      <Answer of={found} what="the runbook">
        {(data) => <Markdown text={data.text} />}
      </Answer>
    </Screen>
  );
}
