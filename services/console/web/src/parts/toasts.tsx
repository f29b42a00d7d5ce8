/** Short messages at the bottom of the page. One with `undo` stays until its time is over, and the key for undo acts on the newest. */

import { useEffect, useSyncExternalStore } from "react";
import { useShortcuts } from "../shell/keyboard";
import { Button } from "./basic";

interface Toast {
  id: number;
  text: string;
  bad: boolean;
  until: number;
  undo?: () => Promise<unknown>;
}

const SHOWN_MS = 6_000;
const MAX = 4;
let toasts: Toast[] = [];
let made = 0;
const watchers = new Set<() => void>();

function set(next: Toast[]): void {
  toasts = next.slice(-MAX);
  for (const watcher of watchers) watcher();
}

export function say(text: string, more: { bad?: boolean; undo?: () => Promise<unknown>; untilMs?: number } = {}): void {
  made += 1;
  set([...toasts, { id: made, text, bad: more.bad ?? false, undo: more.undo, until: more.untilMs ?? Date.now() + SHOWN_MS }]);
}

export const sayError = (error: unknown): void => say(error instanceof Error ? error.message : String(error), { bad: true });

/** Does something; what goes wrong is said. */
export const attempt = (act: () => Promise<unknown>): void => void act().catch(sayError);

async function undo(toast: Toast): Promise<void> {
  set(toasts.filter((one) => one.id !== toast.id));
  try {
    await toast.undo?.();
    say("Undone.");
  } catch (error) {
    sayError(error);
  }
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => toasts,
  );
  useEffect(() => {
    const soonest = Math.min(...shown.map((toast) => toast.until));
    if (!Number.isFinite(soonest)) return;
    const timer = setTimeout(() => set(toasts.filter((toast) => toast.until > Date.now())), Math.max(50, soonest - Date.now()));
    return () => clearTimeout(timer);
  }, [shown]);
  const newest = shown.findLast((toast) => toast.undo);
  useShortcuts(newest ? { undo: () => void undo(newest) } : {});
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map((toast) => (
        <div key={toast.id} className={`toast ${toast.bad ? "bad" : ""}`}>
          <span className="grow break">{toast.text}</span>
          {toast.undo && (
            <Button shortcut="undo" onClick={() => void undo(toast)}>
              Undo
            </Button>
          )}
          <Button look="icon plain" aria-label="Close" onClick={() => set(toasts.filter((one) => one.id !== toast.id))}>
            ×
          </Button>
        </div>
      ))}
    </div>
  );
}
