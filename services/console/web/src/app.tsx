import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ComponentType, useEffect } from "react";
import { get, onSignedOut, Problem } from "./api/client";
import { SessionProvider } from "./api/session";
import type { Session } from "./api/types";
import { Empty, Failed, Screen } from "./parts/basic";
import { Boundary } from "./parts/boundary";
import { Admin } from "./screens/admin/admin";
import { CaseScreen } from "./screens/case/case";
import { Cases } from "./screens/case/cases";
import { Links } from "./screens/case/links";
import { DeadLetters } from "./screens/oncall/dead_letters";
import { DecisionScreen } from "./screens/decision/decision";
import { Decisions } from "./screens/review/decisions";
import { Drift } from "./screens/models/drift";
import { Login } from "./screens/login";
import { ModelScreen } from "./screens/models/model";
import { Models } from "./screens/models/models";
import { OnCall } from "./screens/oncall/oncall";
import { Runbook } from "./screens/oncall/runbooks";
import { OverviewScreen } from "./screens/overview/overview";
import { Performance } from "./screens/models/performance";
import { Queue } from "./screens/review/queue";
import { RolloutScreen } from "./screens/models/rollout";
import { ListScreen } from "./screens/policy/list";
import { Lists } from "./screens/policy/lists";
import { RulesScreen } from "./screens/policy/rules";
import { Welcome } from "./screens/welcome";
import { Link, usePath } from "./shell/router";
import { Shell } from "./shell/shell";

const SCREENS: Record<string, ComponentType> = {
  "/": OverviewScreen,
  "/queue": Queue,
  "/decisions": Decisions,
  "/cases": Cases,
  "/links": Links,
  "/rules": RulesScreen,
  "/lists": Lists,
  "/models": Models,
  "/rollout": RolloutScreen,
  "/drift": Drift,
  "/performance": Performance,
  "/oncall": OnCall,
  "/dead-letters": DeadLetters,
  "/admin": Admin,
};

/** Screens of one thing: the last part of the path names it. */
const OF_ONE: Record<string, ComponentType<{ id: string }>> = {
  "/decisions/": DecisionScreen,
  "/cases/": CaseScreen,
  "/lists/": ListScreen,
  "/models/": ModelScreen,
  "/oncall/runbooks/": Runbook,
};

export function App() {
  const path = usePath();
  const queries = useQueryClient();
  const session = useQuery({ queryKey: ["session"], queryFn: ({ signal }) => get<Session>("/session", {}, signal), refetchInterval: 60_000 });
  const signedOut = session.error instanceof Problem && session.error.status === 401;
  useEffect(() => {
    // the page that the person was on stays: the login returns to it
    onSignedOut(() => void queries.invalidateQueries({ queryKey: ["session"] }));
  }, [queries]);
  if (path === "/welcome") return <Welcome />;
  if (signedOut) return <Login />;
  if (session.data === undefined) return session.isPending ? null : <Failed error={session.error} retry={() => void session.refetch()} />;
  return (
    <SessionProvider value={session.data}>
      <Shell>
        <Boundary key={path}>
          <At path={path} />
        </Boundary>
      </Shell>
    </SessionProvider>
  );
}

function At({ path }: { path: string }) {
  const Whole = SCREENS[path];
  if (Whole) return <Whole key={path} />;
  for (const [prefix, One] of Object.entries(OF_ONE)) {
    if (path.startsWith(prefix) && path.length > prefix.length) {
      const id = decoded(path.slice(prefix.length));
      return <One key={id} id={id} />;
    }
  }
  return (
    <Screen>
      <Empty title="There is no such page">
        <Link href="/">To the overview</Link>
      </Empty>
    </Screen>
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
