import type { QueryClient } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import type { Session } from "./types";

const Signed = createContext<Session | null>(null);
export const SessionProvider = Signed.Provider;

/** Who is signed in. Only inside the shell, where somebody is. */
export function useSession(): Session {
  const session = useContext(Signed);
  if (session === null) throw new Error("nobody is signed in");
  return session;
}

/** Whether the person may do something, and if not, why. `signed`: the action also needs the person's key. */
export function useMay(permission: string, signed = false): { may: boolean; why: string } {
  const session = useSession();
  if (!session.permissions.includes(permission)) {
    return { may: false, why: `Your role (${session.role}) may not ${permission}.` };
  }
  if (signed && !session.can_sign) {
    return { may: false, why: `${session.person}'s key is not on this machine, and this needs a signature: use the command line with --as ${session.person}.` };
  }
  return { may: true, why: "" };
}

const others = { predicate: ({ queryKey }: { queryKey: readonly unknown[] }) => queryKey[0] !== "session" };

/** Somebody is signed in now; what another person saw is forgotten. */
export function enter(queries: QueryClient, session: Session): void {
  queries.removeQueries(others);
  queries.setQueryData(["session"], session);
}

/** Nobody is signed in any more. */
export function leave(queries: QueryClient): void {
  queries.removeQueries(others);
  void queries.invalidateQueries({ queryKey: ["session"] });
}
