import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
const STORED = "tollgate.theme";
const watchers = new Set<() => void>();
const dark = matchMedia("(prefers-color-scheme: dark)");

const chosen = (): Theme => {
  const found = localStorage.getItem(STORED);
  return found === "light" || found === "dark" ? found : "system";
};

const shown = (): "light" | "dark" => {
  const theme = chosen();
  return theme === "system" ? (dark.matches ? "dark" : "light") : theme;
};

function apply(): void {
  document.documentElement.dataset.theme = shown();
  for (const watcher of watchers) watcher();
}

export function startTheme(): void {
  apply();
  dark.addEventListener("change", apply);
}

export function setTheme(theme: Theme): void {
  localStorage.setItem(STORED, theme);
  apply();
}

const subscribe = (watcher: () => void) => {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
};
export const useTheme = (): Theme => useSyncExternalStore(subscribe, chosen);
/** The theme on screen: what is drawn on a canvas must be drawn again when it changes. */
export const useShownTheme = (): "light" | "dark" => useSyncExternalStore(subscribe, shown);
