import { useQuery } from "@tanstack/react-query";
import { useId } from "react";
import { get } from "../../api/client";
import { useSession } from "../../api/session";
import { Field } from "../../parts/basic";

/** Asks for a person who may label; their names are offered. */
export function Colleague({ value, change, hint, focus = false }: { value: string; change: (name: string) => void; hint?: string; focus?: boolean }) {
  const { person } = useSession();
  const list = useId();
  const found = useQuery({ queryKey: ["colleagues"], queryFn: ({ signal }) => get<string[]>("/queue/colleagues", {}, signal), staleTime: 60_000 });
  return (
    <Field name="Colleague" hint={hint}>
      {(id) => (
        <>
          <input id={id} className="input" required maxLength={64} autoFocus={focus} autoComplete="off" list={list} value={value} onChange={(event) => change(event.target.value)} />
          <datalist id={list}>
            {found.data?.filter((name) => name !== person).map((name) => <option key={name} value={name} />)}
          </datalist>
        </>
      )}
    </Field>
  );
}
