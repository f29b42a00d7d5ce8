/** Labels, and the ten seconds in which they can be taken back. */

import { part, post, remove } from "../../api/client";
import type { DecisionRow, Label, LabelName } from "../../api/types";
import { say } from "../../parts/toasts";

export const LABEL_WORDS = { fraud: "fraud", legit: "genuine" } as const;

export interface Item {
  tenant: string;
  transaction_id: string;
}

/** What an action on many answers; `refused`: which were not labelled, and why. */
export interface Labelled {
  accepted: string[];
  refused: { transaction_id: string; reason: string }[];
  sends_at: string | null;
}

export const keyOfRow = ({ tenant, transaction_id }: Item): string => `${tenant}/${transaction_id}`;

export const queuePath = ({ transaction_id }: Item): string => `/queue/${part(transaction_id)}`;

/** Says that payments are labelled; as long as it can be undone, one undo takes all of it back. */
export function sayLabelled(text: string, items: readonly Item[], sends_at: string | null, undone: () => unknown): void {
  say(text, {
    untilMs: sends_at ? new Date(sends_at).getTime() : undefined,
    undo: async () => {
      for (const item of items) await remove(`${queuePath(item)}/label`, { tenant: item.tenant });
      await undone();
    },
  });
}

/** As `sayLabelled`, of many, with those that were refused. */
export function sayMany(name: LabelName, made: Labelled, items: readonly Item[], undone: () => unknown): void {
  const refused = made.refused.length > 0 ? `; ${made.refused.length} refused: ${made.refused[0]?.reason ?? ""}` : "";
  sayLabelled(`${made.accepted.length} labelled as ${LABEL_WORDS[name]}${refused}`, items, made.sends_at, undone);
}

/** Labels one payment; `changed` gets its label, and null when it is taken back. */
export async function give(item: Item, name: LabelName, changed: (label: Label | null) => unknown): Promise<void> {
  const made = await post<Label>(`${queuePath(item)}/label`, { tenant: item.tenant, label: name, note: null, first: true });
  await changed(made);
  sayLabelled(`${item.transaction_id}: ${LABEL_WORDS[name]}`, [item], made.sends_at, () => changed(null));
}

/** The most urgent review that is free, held by the person now; null: there is none, which is said. */
export async function takeNext(query = ""): Promise<DecisionRow | null> {
  const found = await post<DecisionRow | null>(`/queue/next${query}`);
  if (found === null) say("Nothing is free: every review is labelled or held by a colleague.");
  return found;
}
