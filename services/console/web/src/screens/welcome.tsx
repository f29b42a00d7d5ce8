import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { post } from "../api/client";
import { enter } from "../api/session";
import type { Session } from "../api/types";
import { Button, Empty, Failed, Field, Loading } from "../parts/basic";
import { go } from "../shell/router";

const SHORTEST = 12;

/** The page of a one-time link: its person chooses a password. The token is in the fragment, which browsers send to nobody. */
export function Welcome() {
  const [token] = useState(() => location.hash.slice(1));
  const queries = useQueryClient();
  const look = useQuery({
    queryKey: ["welcome", token],
    queryFn: () => post<{ person: string; role: string; expires_at: string }>("/welcome/look", { token }),
    enabled: token !== "",
    staleTime: Number.POSITIVE_INFINITY,
  });
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [said, setSaid] = useState("");
  const [busy, setBusy] = useState(false);
  const wrong = password.length < SHORTEST ? `At least ${SHORTEST} characters.` : password !== again ? "The two differ." : "";
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (wrong || busy) {
      setSaid(wrong);
      return;
    }
    setBusy(true);
    try {
      const session = await post<Session>("/welcome", { token, password });
      enter(queries, session);
      go("/", true);
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="door">
      {token === "" && (
        <div className="card">
          <Empty title="This link is not whole">Open it as it was printed, with everything after the #.</Empty>
        </div>
      )}
      {token !== "" && look.isPending && <Loading what="the link" />}
      {look.isError && (
        <div className="card">
          <Failed error={look.error} />
        </div>
      )}
      {look.data && (
        <form onSubmit={(event) => void submit(event)}>
          <h1 className="brand">
            <img src="/mark.svg" alt="" />
            Tollgate
          </h1>
          <p>
            Welcome, <span className="strong break">{look.data.person}</span> ({look.data.role}). Choose the password that you will sign in with.
          </p>
          <input type="hidden" name="username" autoComplete="username" value={look.data.person} />
          <Field name="Password" hint={`${SHORTEST} to 256 characters; several words are easiest to remember.`}>
            {(id) => <input id={id} className="input" type="password" autoComplete="new-password" autoFocus maxLength={256} value={password} onChange={(event) => setPassword(event.target.value)} />}
          </Field>
          <Field name="Once more">
            {(id) => <input id={id} className="input" type="password" autoComplete="new-password" maxLength={256} value={again} onChange={(event) => setAgain(event.target.value)} />}
          </Field>
          {said && (
            <p className="message bad" role="alert">
              {said}
            </p>
          )}
          <Button type="submit" look="primary" refused={busy ? "It is being stored." : null}>
            Set password and sign in
          </Button>
        </form>
      )}
    </main>
  );
}
