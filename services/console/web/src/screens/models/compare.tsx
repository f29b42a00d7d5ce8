import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get } from "../../api/client";
import { Answer, Button, Panel } from "../../parts/basic";
import { words } from "../../parts/format";
import { Table } from "../../parts/table";
import { type Gates, GatesOf } from "./gates";
import { figure } from "./state";

interface Shares {
  precision: number | null;
  recall: number | null;
}

interface Side {
  auc_roc: number | null;
  average_precision: number | null;
  card_precision_at_100: number | null;
  calibration_error: number | null;
  review: Shares;
  decline: Shares;
}

interface Answered {
  versions: { candidate: string; live: string };
  candidate: Side;
  live: Side;
  switched_off: string[];
  gates?: Gates;
}

const FIGURES = ["average_precision", "auc_roc", "card_precision_at_100", "calibration_error"] as const;
const MEASURES: { name: string; of: (side: Side) => number | null }[] = [
  ...FIGURES.map((name) => ({ name: name === "auc_roc" ? "AUC" : words(name), of: (side: Side) => side[name] })),
  ...(["review", "decline"] as const).flatMap((decision) => (["precision", "recall"] as const).map((measure) => ({ name: `${measure} of ${decision}`, of: (side: Side) => side[decision][measure] }))),
];

function difference(mine: number | null, theirs: number | null): string {
  return mine === null || theirs === null ? "–" : `${mine >= theirs ? "+" : "−"}${Math.abs(mine - theirs).toFixed(3)}`;
}

/** A version and the live one on the same payments, when it is asked for. */
export function Compare({ version, at_once }: { version: string; at_once: boolean }) {
  const [asked, setAsked] = useState(at_once);
  const found = useQuery({ queryKey: ["compare", version], queryFn: ({ signal }) => get<Answered>("/models/compare", { candidate: version }, signal), enabled: asked, retry: false, staleTime: 300_000 });
  if (!asked) {
    return (
      <div className="row wrap">
        <Button onClick={() => setAsked(true)}>Compare with the live version</Button>
        <span className="quiet small">scores both on the labelled payments that neither has seen, with the whole policy; takes some seconds</span>
      </div>
    );
  }
  return (
    <Panel title="On the same payments" bare>
      <Answer of={found} what="the comparison (some seconds)">
        {(data) => (
          <>
            <Table
              rows={MEASURES}
              keyOf={({ name }) => name}
              columns={[
                { name: "Measure", heads: true, cell: ({ name }) => name },
                { name: data.versions.candidate, look: "number", cell: ({ of }) => figure(of(data.candidate)) },
                { name: `${data.versions.live} (live)`, look: "number", cell: ({ of }) => figure(of(data.live)) },
                { name: "Difference", look: "number soft", cell: ({ of }) => difference(of(data.candidate), of(data.live)) },
              ]}
            />
            {data.gates && (
              <div className="body stack tight">
                <h3>Gates</h3>
                <GatesOf gates={data.gates} />
              </div>
            )}
            {data.switched_off.length > 0 && (
              <div className="body">
                <p className="message warn">{data.versions.candidate} would switch off what people set in the live policy: {data.switched_off.join(", ")}.</p>
              </div>
            )}
          </>
        )}
      </Answer>
    </Panel>
  );
}
