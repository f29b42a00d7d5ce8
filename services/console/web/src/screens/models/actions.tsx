import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { part, post } from "../../api/client";
import { useMay } from "../../api/session";
import type { ModelRow } from "../../api/types";
import { Button, Field } from "../../parts/basic";
import { ReasonDialog } from "../../parts/dialog";
import { say } from "../../parts/toasts";
import { WAITS } from "./state";

type Action = "approve" | "reject" | "promote" | "rollout";

const TEXTS: Record<Action, { verb: string; title: (version: string) => string; text: string }> = {
  approve: { verb: "Approve", title: (version) => `Approve ${version}`, text: "Every replica loads it, warms it up and serves it. You need to be somebody else than its author." },
  reject: { verb: "Reject", title: (version) => `Reject ${version}`, text: "It will not serve. Its bundle stays in the registry." },
  promote: { verb: "Make live again", title: (version) => `Make ${version} live again`, text: "It was approved before; every replica goes back to it." },
  rollout: { verb: "Start rollout", title: (version) => `Roll out ${version} step by step`, text: "It gets a growing share of the cards, judged at each step, by a plan; the champion serves the others." },
};

/** What can be done with a version now, each with a reason. */
export function Actions({ row }: { row: ModelRow }) {
  const [asked, setAsked] = useState<Action | null>(null);
  const [plan, setPlan] = useState("");
  const queries = useQueryClient();
  const approve = useMay("approve", true);
  const reject = useMay("reject", true);
  const offered: Action[] = row.state === WAITS ? ["rollout", "approve", "reject"] : row.state === "live" && !row.reviewed ? ["approve"] : ["superseded", "approved", "rolled back"].includes(row.state) ? ["promote"] : [];
  const act = async (why: string) => {
    const answer = await post<{ replicas?: string[]; state?: string }>(`/models/${part(row.version)}/${asked ?? ""}`, asked === "rollout" ? { why, plan: plan.trim() || null } : { why });
    await Promise.all([queries.invalidateQueries({ queryKey: ["models"] }), queries.invalidateQueries({ queryKey: ["model"] }), queries.invalidateQueries({ queryKey: ["rollout"] })]);
    say(asked === "reject" ? `${row.version} is rejected.` : asked === "rollout" ? `The rollout of ${row.version} has begun.` : `${row.version} is live${answer.replicas?.length ? `, served by ${answer.replicas.join(", ")}` : ""}.`);
  };
  return (
    <div className="row">
      {offered.map((action) => {
        const may = action === "reject" ? reject : approve;
        return (
          <Button key={action} look={action === "approve" ? "primary" : action === "reject" ? "danger" : ""} refused={may.may ? null : may.why} onClick={() => setAsked(action)}>
            {TEXTS[action].verb}
          </Button>
        );
      })}
      {asked && (
        <ReasonDialog title={TEXTS[asked].title(row.version)} verb={TEXTS[asked].verb} danger={asked === "reject"} close={() => setAsked(null)} act={act}>
          <p className="soft">{TEXTS[asked].text}</p>
          {asked === "rollout" && (
            <details>
              <summary>A plan of your own</summary>
              <Field name="Steps and guards, TOML" hint="Empty: shadow, then 1, 5, 25 and 100 % of the cards.">
                {(id) => <textarea id={id} className="input code" rows={8} maxLength={20_000} spellCheck={false} value={plan} onChange={(event) => setPlan(event.target.value)} />}
              </Field>
            </details>
          )}
        </ReasonDialog>
      )}
    </div>
  );
}
