import { useQuery } from "@tanstack/react-query";
import { get } from "../../api/client";
import { Answer, Panel, Time } from "../../parts/basic";
import { percent, words } from "../../parts/format";
import { Table } from "../../parts/table";
import { Link, useParam } from "../../shell/router";

interface Arm {
  version: string;
  share: number;
  policy_version?: string;
  thresholds?: { review: number; decline: number };
  /** why its policy cannot be shown */
  problem?: string;
}

interface Served {
  state: string | null;
  since?: string;
  approved_by?: string;
  why?: string;
  shadow?: string | null;
  arms: Record<string, Arm>;
}

/** Which version decided which share of the cards at a past moment, and by whose word; from the audit. */
export function ServedAt() {
  const [at, setAt] = useParam("at");
  const found = useQuery({
    queryKey: ["models", "at", at],
    queryFn: ({ signal }) => get<Served>("/models/at", { time: new Date(at).toISOString() }, signal),
    enabled: at !== "",
    staleTime: Number.POSITIVE_INFINITY,
  });
  return (
    <Panel
      title="Who served what"
      aside={
        <label className="row small soft">
          at
          <input className="input" type="datetime-local" value={at} onChange={(event) => setAt(event.target.value)} />
        </label>
      }
      bare={at !== "" && found.data?.state != null}
    >
      {at === "" ? (
        <p className="soft">Choose a moment: which version decided then, for which share of the cards, and who approved it.</p>
      ) : (
        <Answer of={found} what="the audit">
          {(data) => (data.state === null ? <p className="soft">No model was live then.</p> : <Then of={data} />)}
        </Answer>
      )}
    </Panel>
  );
}

function Then({ of }: { of: Served }) {
  const threshold = (value: number | undefined) => value?.toFixed(4) ?? "–";
  return (
    <>
      <p className="body soft break">
        {words(of.state ?? "")} since <Time at={of.since} />, by {of.approved_by || "nobody"}
        {of.why && `: ${of.why}`}
        {of.shadow && `; ${of.shadow} scored in the shadow`}
      </p>
      <Table
        rows={Object.entries(of.arms)}
        keyOf={([arm]) => arm}
        columns={[
          { name: "Arm", heads: true, cell: ([arm]) => arm },
          { name: "Version", cell: ([, { version }]) => <Link href={`/models/${version}`}>{version}</Link> },
          { name: "Share of the cards", look: "number", cell: ([, { share }]) => percent(share, 1) },
          { name: "Policy", look: "break", cell: ([, { policy_version, problem }]) => policy_version ?? problem ?? "–" },
          { name: "Review from", look: "number", cell: ([, { thresholds }]) => threshold(thresholds?.review) },
          { name: "Decline from", look: "number", cell: ([, { thresholds }]) => threshold(thresholds?.decline) },
        ]}
      />
    </>
  );
}
