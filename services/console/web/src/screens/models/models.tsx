import { useState } from "react";
import { part } from "../../api/client";
import type { ModelRow } from "../../api/types";
import { Answer, Button, Empty, Figure, Panel, Screen, Tag, Time } from "../../parts/basic";
import { picking, Table } from "../../parts/table";
import { Link } from "../../shell/router";
import { Actions } from "./actions";
import { ServedAt } from "./served_at";
import { figure, State, useModels, WAITS } from "./state";
import { Thresholds } from "./thresholds";

export function Models() {
  const models = useModels();
  return (
    <Screen>
      <Answer of={models} what="the models">
        {(rows) =>
          rows.length === 0 ? (
            <Empty title="No model was published yet">`tollgate train` makes a first one.</Empty>
          ) : (
            <>
              {rows.filter((row) => row.state === WAITS).map((row) => (
                <Waiting key={row.version} row={row} live={rows.find((one) => one.state === "live") ?? null} />
              ))}
              <Registry rows={rows} />
              <ServedAt />
            </>
          )
        }
      </Answer>
    </Screen>
  );
}

/** A version that waits for a person, beside the one that serves. */
function Waiting({ row, live }: { row: ModelRow; live: ModelRow | null }) {
  const difference = (name: "average_precision" | "auc_roc" | "card_precision_at_100") => {
    const [mine, theirs] = [row[name], live?.[name]];
    if (mine === null || theirs === null || theirs === undefined) return "no figure to compare with";
    const by = mine - theirs;
    return `${by >= 0 ? "+" : "−"}${Math.abs(by).toFixed(3)} against ${live?.version ?? "the live one"}`;
  };
  return (
    <Panel title={`${row.version} awaits approval`} aside={<Actions row={row} />}>
      <div className="stack">
        <p className="soft">
          Proposed by {row.by || "nobody"}, <Time at={row.since ?? row.created_at} />
          {row.why && <>: {row.why}</>}. <Link href={`/models/${part(row.version)}`}>Its evaluation, policy and lineage</Link> · <Link href={`/models/${part(row.version)}?compare=1`}>compare with the live one</Link>
        </p>
        <dl className="figures">
          <Figure name="Average precision" value={figure(row.average_precision)} note={difference("average_precision")} />
          <Figure name="AUC" value={figure(row.auc_roc)} note={difference("auc_roc")} />
          <Figure name="Precision, 100 cards a day" value={figure(row.card_precision_at_100)} note={difference("card_precision_at_100")} />
        </dl>
        <p className="quiet small">Each on its own evaluation data: the comparison scores both on the same payments.</p>
      </div>
    </Panel>
  );
}

const MAX_COMPARED = 4;

/** All versions; up to four are compared by threshold. */
function Registry({ rows }: { rows: ModelRow[] }) {
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [compared, setCompared] = useState<string[]>([]);
  const refused = picked.size === 0 ? "Select up to four versions." : picked.size > MAX_COMPARED ? `At most ${MAX_COMPARED}.` : null;
  return (
    <>
      {compared.length > 0 && <Thresholds key={compared.join()} versions={compared} close={() => setCompared([])} />}
      <Panel
        title="Registry"
        aside={
          <div className="row wrap">
            <span className="quiet small">newest first</span>
            <Button refused={refused} onClick={() => setCompared([...picked])}>
              Compare by threshold
            </Button>
          </div>
        }
        bare
      >
        <Table
          rows={[...rows].reverse()}
          keyOf={({ version }) => version}
          link
          columns={[
            picking<ModelRow>(picked, setPicked, ({ version }) => version, ({ version }) => version),
            { name: "Version", heads: true, cell: ({ version }) => <Link href={`/models/${part(version)}`}>{version}</Link> },
            {
              name: "State",
              cell: (row) => (
                <>
                  <State row={row} /> {row.verdict === "fail" && <Tag tone="bad">gates failed</Tag>}
                </>
              ),
            },
            { name: "Average precision", look: "number", cell: (row) => figure(row.average_precision) },
            { name: "AUC", look: "number", cell: (row) => figure(row.auc_roc) },
            { name: "Precision at 100", look: "number", cell: (row) => figure(row.card_precision_at_100) },
            { name: "By", cell: (row) => row.by || "–" },
            { name: "Since", cell: (row) => <Time at={row.since ?? row.created_at} /> },
            { name: "Reason", look: "soft break", cell: (row) => row.why || "–" },
          ]}
        />
      </Panel>
    </>
  );
}
