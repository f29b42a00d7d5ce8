/** The address is the state: every thing that can be shared has one. */

import { type AnchorHTMLAttributes, type MouseEvent, useCallback, useSyncExternalStore } from "react";

const MOVED = "tollgate:moved";

export function go(to: string, replace = false): void {
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  dispatchEvent(new Event(MOVED));
}

function subscribe(changed: () => void): () => void {
  addEventListener("popstate", changed);
  addEventListener(MOVED, changed);
  return () => {
    removeEventListener("popstate", changed);
    removeEventListener(MOVED, changed);
  };
}

export const usePath = (): string => useSyncExternalStore(subscribe, () => location.pathname);

/** One parameter of the address and a way to change it; an empty text removes it. */
export function useParam(name: string, fallback = ""): [string, (value: string) => void] {
  const text = useSyncExternalStore(subscribe, () => location.search);
  const value = new URLSearchParams(text).get(name) ?? fallback;
  const change = useCallback(
    (next: string) => {
      const all = new URLSearchParams(location.search);
      if (next === "" || next === fallback) all.delete(name);
      else all.set(name, next);
      const query = all.toString();
      go(location.pathname + (query && `?${query}`), true);
    },
    [name, fallback],
  );
  return [value, change];
}

export function Link({ href, onClick, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(href);
  };
  return <a href={href} onClick={follow} {...rest} />;
}

export const decisionPath = (id: string, tenant: string): string =>
  `/decisions/${encodeURIComponent(id)}${tenant === "default" ? "" : `?tenant=${encodeURIComponent(tenant)}`}`;
