/** What a payment is and what can be done with it now: label, hold, hand over, take the next. */

import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useState } from "react";
import { put, remove } from "../../api/client";
import { useMay } from "../../api/session";
import type { LabelName, Lock } from "../../api/types";
import { Button, Tag, Verdict } from "../../parts/basic";
import { words } from "../../parts/format";
import { attempt, say } from "../../parts/toasts";
import { useShortcuts } from "../../shell/keyboard";
import { decisionPath, go } from "../../shell/router";
import { CaseOf } from "../case/entity";
import { HandOver } from "../review/hand_over";
import { LabelState } from "../review/label_state";
import { give, queuePath, takeNext } from "../review/labelling";
import type { Of } from "./decision";

export function Head({ whole, id, tenant }: Of) {
  const queries = useQueryClient();
  const may = useMay("label");
  const [handing, setHanding] = useState(false);
  const { decision, row, label, lock } = whole;
  const again = useCallback(() => queries.invalidateQueries({ queryKey: ["decision", tenant, id] }), [queries, tenant, id]);
  const inQueue = row !== null && decision.decision === "review";
  const foreign = lock && !lock.mine ? `${lock.owner} holds it.` : null;
  const refused = !may.may ? may.why : !inQueue ? "Only payments in review are labelled here." : label ? "It is labelled already: undo it first." : foreign;
  const item = { tenant, transaction_id: id };
  const mark = (name: LabelName) => (refused ? say(refused, { bad: true }) : attempt(() => give(item, name, again)));
  const next = () =>
    attempt(async () => {
      const found = await takeNext();
      if (found) go(decisionPath(found.transaction_id, found.tenant));
    });
  const hold = () => attempt(() => (lock?.mine ? remove(`${queuePath(item)}/lock`, { tenant }) : put<Lock>(`${queuePath(item)}/lock`, { tenant })).finally(again));
  useShortcuts({
    fraud: () => mark("fraud"),
    legit: () => mark("legit"),
    next,
    escalate: () => inQueue && setHanding(true),
  });
  // a label's state changes when its ten seconds are over
  useEffect(() => {
    if (!label?.sends_at || label.state !== "waiting") return;
    const timer = setTimeout(() => void again(), Math.max(0, new Date(label.sends_at).getTime() - Date.now()) + 1_500);
    return () => clearTimeout(timer);
  }, [label, again]);
  return (
    <div className="stack tight">
      <div className="row wrap apart">
        <div className="row wrap">
          <h2 className="title break">{id}</h2>
          <Verdict name={decision.decision} />
          {decision.status !== "scored" && <Tag tone="warn">{words(decision.status)}</Tag>}
          {tenant !== "default" && <Tag>tenant {tenant}</Tag>}
          {label && <LabelState label={label} />}
          {lock && <Tag tone={lock.mine ? "accent" : "warn"}>{lock.mine ? "held by you" : `held by ${lock.owner}`}</Tag>}
        </div>
        <div className="row wrap">
          {inQueue && (
            <>
              <Button look="plain" refused={may.may ? (foreign ?? (label ? "It is labelled." : null)) : may.why} onClick={hold}>
                {lock?.mine ? "Release" : "Hold"}
              </Button>
              <Button look="plain" shortcut="escalate" refused={may.may ? foreign : may.why} onClick={() => setHanding(true)}>
                Hand over
              </Button>
              <Button look="danger" shortcut="fraud" refused={refused} onClick={() => mark("fraud")}>
                Fraud
              </Button>
              <Button shortcut="legit" refused={refused} onClick={() => mark("legit")}>
                Genuine
              </Button>
            </>
          )}
          <CaseOf entity={{ kind: "card", id: decision.card_id }} tenant={tenant} />
          <Button shortcut="next" refused={may.may ? null : may.why} onClick={next}>
            Next review
          </Button>
        </div>
      </div>
      {decision.degraded_by && decision.degraded_by.length > 0 && (
        <p className="message warn">Decided without: {decision.degraded_by.map(words).join(", ")}.</p>
      )}
      {row && handing && <HandOver row={row} close={() => setHanding(false)} done={() => void again()} />}
    </div>
  );
}
