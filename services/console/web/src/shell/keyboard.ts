/**
 * Single keys. They act only outside fields and dialogs, and can be switched off (WCAG 2.1.4) or given other letters; what the
 * reader chose is kept in the browser. Chords with Ctrl or Cmd always act.
 */

import { useEffect, useRef, useSyncExternalStore } from "react";

export interface Action {
  id: string;
  text: string;
  key: string;
}

export const ACTIONS = [
  { id: "down", key: "j", text: "Next row" },
  { id: "up", key: "k", text: "Row before" },
  { id: "open", key: "Enter", text: "Open the row" },
  { id: "next", key: "n", text: "Take the next review" },
  { id: "fraud", key: "f", text: "Label as fraud" },
  { id: "legit", key: "g", text: "Label as genuine" },
  { id: "escalate", key: "e", text: "Hand over to a colleague" },
  { id: "select", key: "x", text: "Select the row" },
  { id: "undo", key: "u", text: "Undo the last label (10 s)" },
  { id: "filter", key: "/", text: "Search or filter" },
  { id: "help", key: "?", text: "Keys" },
] as const satisfies readonly Action[];

export type ActionId = (typeof ACTIONS)[number]["id"];
interface Keys {
  on: boolean;
  keys: Partial<Record<ActionId, string>>;
}

const STORED = "tollgate.keys";
const watchers = new Set<() => void>();
let current: Keys = read();

function read(): Keys {
  try {
    const found = JSON.parse(localStorage.getItem(STORED) ?? "{}") as Partial<Keys>;
    return { on: found.on ?? true, keys: found.keys ?? {} };
  } catch {
    return { on: true, keys: {} };
  }
}

export function setKeys(keys: Keys): void {
  current = keys;
  localStorage.setItem(STORED, JSON.stringify(keys));
  for (const watcher of watchers) watcher();
}

export const useKeys = (): Keys =>
  useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => current,
  );

export const keyOf = (keys: Keys, id: ActionId): string =>
  keys.keys[id] ?? ACTIONS.find((action) => action.id === id)?.key ?? "";

function typing(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** What single keys do while the component is shown; the last shown component that knows a key gets it. */
export function useShortcuts(handlers: Partial<Record<ActionId, () => void>>): void {
  const latest = useRef(handlers);
  latest.current = handlers;
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (!current.on || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (typing(event.target) || document.querySelector('[role="dialog"]') !== null) return;
      const action = ACTIONS.find((one) => keyOf(current, one.id) === event.key);
      const handler = action && latest.current[action.id];
      if (!handler) return;
      // Enter on a link or a button does what that link or button says
      if (event.key === "Enter" && event.target instanceof HTMLElement && event.target.closest("a, button, summary")) return;
      event.preventDefault();
      handler();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}
