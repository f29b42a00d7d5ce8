import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { get, post, Problem } from "../api/client";
import { enter } from "../api/session";
import type { Session } from "../api/types";
import { Button, Field } from "../parts/basic";

// why the provider's answer let nobody in; the address names a reason, the words are ours
const REFUSED: Record<string, string> = {
  away: "The provider does not answer. Try again, or use the commands on the stack's machine.",
  refused: "The provider let nobody in, or its answer does not hold.",
  not_known: "The provider knows you, this stack does not. Ask an admin: tollgate access add NAME --role ROLE.",
  too_old: "This sign-in took too long, or began in another browser. Begin again.",
  too_many: "Too many attempts. Try again in a minute.",
};

export function Login() {
  const queries = useQueryClient();
  const setup = useQuery({ queryKey: ["setup"], queryFn: () => get<{ people_with_password: number; provider: string | null; passwords: boolean }>("/setup") });
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [said, setSaid] = useState(REFUSED[new URLSearchParams(location.search).get("signin") ?? ""] ?? "");
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setSaid("");
    try {
      const session = await post<Session>("/session", { name: name.trim(), password });
      enter(queries, session);
    } catch (error) {
      setPassword("");
      const wait = error instanceof Problem && error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
      setSaid((error instanceof Error ? error.message : String(error)) + wait);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="door">
      <form onSubmit={(event) => void submit(event)}>
        <h1 className="brand">
          <img src="/mark.svg" alt="" />
          Tollgate
        </h1>
        {setup.data?.provider && (
          <a className="button primary" href="/api/v1/oidc">
            Sign in with {setup.data.provider}
          </a>
        )}
        {setup.data?.passwords && setup.data.people_with_password === 0 && (
          <p className="message">
            Nobody has a password yet. Open the link that <code>tollgate up</code> printed, or make one with <code>tollgate access link NAME</code>.
          </p>
        )}
        {said && (
          <p className="message bad" role="alert">
            {said}
          </p>
        )}
        {setup.data?.passwords !== false && (
          <>
            <Field name="Name">
              {(id) => <input id={id} className="input" autoComplete="username" autoFocus required maxLength={64} value={name} onChange={(event) => setName(event.target.value)} />}
            </Field>
            <Field name="Password">
              {(id) => <input id={id} className="input" type="password" autoComplete="current-password" required maxLength={256} value={password} onChange={(event) => setPassword(event.target.value)} />}
            </Field>
            <Button type="submit" look={setup.data?.provider ? "" : "primary"} refused={busy ? "Signing in." : null}>
              {busy ? "Signing in …" : "Sign in"}
            </Button>
          </>
        )}
      </form>
    </main>
  );
}
