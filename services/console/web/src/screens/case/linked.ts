/** What an entity is linked with, as the API gives it. */

import { type Entity, type Kind, keyOf } from "./entity";

export interface LinkedNode extends Entity {
  step: number;
  payments: number;
  declined: number;
  fraud: number;
  genuine: number;
  first: string | null;
  last: string | null;
}

/** Between a card and something else. `rarity`: of all payments of the two, the share that they have in common. */
export interface EntityLink {
  kind: Kind;
  card: string;
  id: string;
  payments: number;
  fraud: number;
  rarity: number;
  first: string;
  last: string;
}

export interface Linked extends Entity {
  tenant: string;
  nodes: LinkedNode[];
  links: EntityLink[];
  left_out: number;
  not_followed: Entity[];
}

/** a total is counted up to this and one more */
export const HUB = 500;
export const endsOf = (link: EntityLink): [string, string] => [keyOf({ kind: "card", id: link.card }), keyOf(link)];

/** What each end of the links is linked with. */
export function besideOf(links: readonly EntityLink[]): Map<string, string[]> {
  const beside = new Map<string, string[]>();
  for (const link of links) {
    const [card, other] = endsOf(link);
    beside.set(card, [...(beside.get(card) ?? []), other]);
    beside.set(other, [...(beside.get(other) ?? []), card]);
  }
  return beside;
}

/** The entities that the links lead to from the start. */
export function reached(nodes: LinkedNode[], links: EntityLink[], start: string): LinkedNode[] {
  const beside = besideOf(links);
  const found = new Set([start]);
  for (let step = 0; step < 2; step++) for (const key of [...found]) for (const other of beside.get(key) ?? []) found.add(other);
  return nodes.filter((node) => found.has(keyOf(node)));
}
