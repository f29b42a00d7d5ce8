import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get, part } from "../../api/client";
import { useMay } from "../../api/session";
import type { Rules } from "../../api/types";
import { Answer, Button, Empty, Field, Panel, Screen, Tag, Time } from "../../parts/basic";
import { FormDialog } from "../../parts/dialog";
import { whole } from "../../parts/format";
import { Table } from "../../parts/table";
import { go, Link, useParam } from "../../shell/router";
import { hitColumns } from "./hits";

export const TONES = { block: "bad", allow: "good", watch: "warn" } as const;

/** An entry that expires within so many days is expiring soon. */
export const SOON_DAYS = 14;
type Listed = Rules["lists"][number];

function Expiry({ at }: { at: string | null }) {
  const soon = at !== null && new Date(at).getTime() < Date.now() + SOON_DAYS * 86_400_000;
  return (
    <>
      <Time at={at} /> {soon && <Tag tone="warn">soon</Tag>}
    </>
  );
}

/** What follows a list's address when an entry comes from elsewhere. */
function useCarried(): { field: string; value: string; query: string } {
  const [field] = useParam("field");
  const [value] = useParam("value");
  const [number] = useParam("case");
  const query = value ? `?value=${part(value)}${number ? `&case=${part(number)}` : ""}` : "";
  return { field, value, query };
}

/** The lists of the live policy. An entry that comes from a case or a payment is carried on to the list that is chosen. */
export function Lists() {
  const may = useMay("propose");
  const { field, value, query } = useCarried();
  const [making, setMaking] = useState(false);
  const rules = useQuery({ queryKey: ["rules"], queryFn: ({ signal }) => get<Rules>("/rules", {}, signal) });
  return (
    <Screen>
      {value && (
        <p className="message">
          On which list shall <span className="strong break">{value}</span> stand? Those of <code>{field}</code> are offered.
        </p>
      )}
      <Answer of={rules} what="lists">
        {(data) => {
          const lists = data.lists.filter((list) => !field || list.field === field);
          return (
            <Panel
              title="Lists"
              aside={
                <Button refused={may.may ? null : may.why} onClick={() => setMaking(true)}>
                  Make a list …
                </Button>
              }
              bare
            >
              {lists.length === 0 ? (
                <Empty title={field ? `No list of ${field} is live` : "No list is live"}>A list blocks, allows or watches values of one field until they expire.</Empty>
              ) : (
                <Table
                  rows={lists}
                  keyOf={(list) => list.name}
                  link
                  columns={[
                    {
                      name: "List",
                      look: "name",
                      heads: true,
                      cell: (list) => (
                        <>
                          <Link href={`/lists/${part(list.name)}${query}`}>{list.name}</Link> <span className="quiet small">{list.reason}</span>
                        </>
                      ),
                    },
                    { name: "Kind", cell: ({ kind }) => <Tag tone={TONES[kind as keyof typeof TONES]}>{kind}</Tag> },
                    { name: "Field", look: "mono", cell: (list) => list.field },
                    {
                      name: "Entries",
                      look: "number",
                      cell: ({ entries, expired }) => (
                        <>
                          {whole(entries)}
                          {expired > 0 && <span className="quiet"> ({whole(expired)} expired)</span>}
                        </>
                      ),
                    },
                    ...hitColumns<Listed>(),
                    { name: "Owner", cell: (list) => list.owner },
                    { name: "Next expiry", cell: ({ next_expiry }) => <Expiry at={next_expiry} /> },
                  ]}
                />
              )}
            </Panel>
          );
        }}
      </Answer>
      {making && <NameList close={() => setMaking(false)} query={query ? `${query}&new=1${field ? `&field=${part(field)}` : ""}` : "?new=1"} />}
    </Screen>
  );
}

function NameList({ close, query }: { close: () => void; query: string }) {
  const [name, setName] = useState("");
  const fits = /^[a-z][a-z0-9-]{0,63}$/.test(name);
  return (
    <FormDialog title="Make a list" verb="Go on" close={close} act={async () => go(`/lists/${name}${query}`)} refused={fits ? null : "It needs a name."}>
      <Field name="Name" hint="It stands in the reasons of each payment that it matches." wrong={name === "" || fits ? "" : "Lower-case letters, digits and dashes."}>
        {(id) => <input id={id} className="input" required maxLength={64} autoFocus spellCheck={false} value={name} onChange={(event) => setName(event.target.value)} />}
      </Field>
    </FormDialog>
  );
}
