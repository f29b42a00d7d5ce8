/** One stream of events for the whole page. Browsers reconnect by themselves; `useLive` says whether it is connected now. */

import { useEffect, useSyncExternalStore } from "react";

type Listener = (data: unknown) => void;
const NAMES = ["second", "queue", "behind", "alerts", "signed_out"] as const;
export type LiveName = (typeof NAMES)[number];

const listeners = new Map<LiveName, Set<Listener>>();
const watchers = new Set<() => void>();
let source: EventSource | null = null;
let connected = false;

function setConnected(now: boolean): void {
  if (connected === now) return;
  connected = now;
  for (const watcher of watchers) watcher();
}

export function connect(): void {
  if (source !== null) return;
  source = new EventSource("/api/v1/events");
  source.onopen = () => setConnected(true);
  source.onerror = () => setConnected(false);
  for (const name of NAMES) {
    source.addEventListener(name, (event: MessageEvent<string>) => {
      const data: unknown = JSON.parse(event.data);
      for (const listener of listeners.get(name) ?? []) listener(data);
    });
  }
}

export function disconnect(): void {
  source?.close();
  source = null;
  setConnected(false);
}

/** Call `listener` for each event of a name while the component is shown. */
export function useLive<Data>(name: LiveName, listener: (data: Data) => void): void {
  useEffect(() => {
    const known = listeners.get(name) ?? new Set<Listener>();
    listeners.set(name, known);
    const one: Listener = (data) => listener(data as Data);
    known.add(one);
    return () => void known.delete(one);
  }, [name, listener]);
}

export function useConnected(): boolean {
  return useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => connected,
  );
}
