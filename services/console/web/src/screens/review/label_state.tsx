import type { Label } from "../../api/types";
import { Tag } from "../../parts/basic";
import { LABEL_WORDS } from "./labelling";

/** A label: its word, from whom, and whether it has gone out yet. */
export function LabelState({ label }: { label: Label }) {
  const from = label.by ?? label.source;
  const state = label.state === "waiting" ? "about to be sent" : label.state === "sent" ? "sent" : "matured";
  return (
    <span title={`by ${from}, ${state}`}>
      <Tag tone={label.label === "fraud" ? "bad" : "good"}>{LABEL_WORDS[label.label]}</Tag> <span className="quiet small">{label.state === "waiting" ? "undo with u" : from}</span>
    </span>
  );
}
