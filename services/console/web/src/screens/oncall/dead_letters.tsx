import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, post } from "../../api/client";
import { useMay } from "../../api/session";
import { Answer, Button, Empty, Field, Panel, Screen, Tag, Time } from "../../parts/basic";
import { FormDialog } from "../../parts/dialog";
import { whole, words } from "../../parts/format";
import { picking, Table } from "../../parts/table";
import { attempt, say } from "../../parts/toasts";
import { useParam } from "../../shell/router";

interface Row {
  id: string;
  reason: string;
  field: string;
  text: string;
  source_topic: string;
  source_partition: number;
  source_offset: number;
  first_seen: string;
  original: string | null;
  replayed_at: string | null;
}

const MAX_TEXT = 240;
/** Records that were refused, each with its reason; after a correction they are sent again. */
export function DeadLetters() {
  const [reason, setReason] = useParam("reason");
  const [all, setAll] = useParam("all");
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [mending, setMending] = useState(false);
  const may = useMay("operate");
  const queries = useQueryClient();
  const found = useQuery({ queryKey: ["dead-letters", reason, all], queryFn: ({ signal }) => get<{ rows: Row[]; counted: number }>("/dead-letters", { reason, all: all === "1", limit: 200 }, signal) });
  const replay = async (set: Record<string, string>) => {
    const answer = await post<{ chosen: number; sent: number }>("/dead-letters/replay", { ids: [...picked], set });
    setPicked(new Set());
    say(`${answer.sent} of ${answer.chosen} sent again.`);
    await queries.invalidateQueries({ queryKey: ["dead-letters"] });
  };
  const refused = may.may ? (picked.size ? null : "Select records first.") : may.why;
  return (
    <Screen>
      <div className="row wrap">
        <label className="row small soft">
          Reason
          <input className="input" value={reason} onChange={(event) => setReason(event.target.value)} />
        </label>
        <label className="row small soft">
          <input type="checkbox" checked={all === "1"} onChange={(event) => setAll(event.target.checked ? "1" : "")} />
          also those that were sent again
        </label>
        <span className="grow" />
        <Button refused={refused} onClick={() => attempt(() => replay({}))}>
          Send {picked.size || ""} again
        </Button>
        <Button refused={refused} onClick={() => setMending(true)}>
          Correct and send …
        </Button>
      </div>
      <Answer of={found} what="dead letters">
        {(data) =>
          data.rows.length === 0 ? (
            <Empty title="No record was refused">Every record could be read, or was sent again.</Empty>
          ) : (
            <Panel title={`${whole(data.counted)} records`} bare>
              <Table
                rows={data.rows}
                keyOf={(row) => row.id}
                columns={[
                  picking<Row>(picked, setPicked, (row) => row.id, (row) => row.id),
                  { name: "First seen", cell: (row) => <Time at={row.first_seen} /> },
                  {
                    name: "Topic",
                    look: "nowrap",
                    cell: (row) => (
                      <>
                        {row.source_topic}{" "}
                        <span className="quiet small">
                          {row.source_partition}/{row.source_offset}
                        </span>
                        {row.replayed_at && <Tag>sent again</Tag>}
                      </>
                    ),
                  },
                  { name: "Reason", look: "nowrap", cell: (row) => words(row.reason) },
                  {
                    name: "What is wrong",
                    look: "soft break",
                    cell: (row) => (
                      <>
                        {row.field && <span className="mono">{row.field}: </span>}
                        {row.text}
                      </>
                    ),
                  },
                  { name: "Record", look: "mono break", cell: (row) => row.original?.slice(0, MAX_TEXT) ?? <span className="quiet">no value</span> },
                ]}
              />
            </Panel>
          )
        }
      </Answer>
      {mending && <Mend count={picked.size} close={() => setMending(false)} act={replay} />}
    </Screen>
  );
}

function Mend({ count, close, act }: { count: number; close: () => void; act: (set: Record<string, string>) => Promise<void> }) {
  const [field, setField] = useState("");
  const [value, setValue] = useState("");
  return (
    <FormDialog title={`Correct ${count} records and send them`} verb="Send" close={close} act={() => act({ [field.trim()]: value })}>
      <Field name="Field">{(id) => <input id={id} className="input mono" required autoFocus value={field} onChange={(event) => setField(event.target.value)} />}</Field>
      <Field name="Value in all of them" hint="Empty: the field is removed.">
        {(id) => <input id={id} className="input mono" value={value} onChange={(event) => setValue(event.target.value)} />}
      </Field>
    </FormDialog>
  );
}
