/** What happens to the queue while a person works on it. */

import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import { get, Problem, put } from "../../api/client";
import { useLive } from "../../api/live";
import type { DecisionRow, Lock, QueueAnswer, QueueEvent } from "../../api/types";
import { sayError } from "../../parts/toasts";
import { queuePath } from "./labelling";

const RENEW_MS = 120_000;

/** How many reviews that fit the filters came since the list was read up to `mark`; the list itself stays as it is. */
export function useNews(values: Record<string, string>, mark: number | undefined): number {
  const [newest, setNewest] = useState(0);
  useLive("queue", useCallback((event: QueueEvent) => setNewest(event.mark), []));
  const news = useQuery({
    queryKey: ["queue news", values, mark, newest],
    queryFn: ({ signal }) => get<QueueAnswer>("/queue", { ...values, after: mark, limit: 1 }, signal),
    enabled: mark !== undefined && newest > mark,
    placeholderData: (before, query) => (query?.queryKey[2] === mark ? before : undefined),
  });
  return news.data?.open ?? 0;
}

/** Keeps a lock of mine while its payment is on screen. */
export function useRenewal(row: DecisionRow | null, renewed: (row: DecisionRow, lock: Lock | null) => void): void {
  const latest = useRef({ row, renewed });
  latest.current = { row, renewed };
  const mine = row?.lock?.mine && row.label === null ? `${row.tenant}/${row.transaction_id}` : null;
  useEffect(() => {
    if (mine === null) return;
    const timer = setInterval(() => {
      const { row: held, renewed: told } = latest.current;
      if (held === null) return;
      put<Lock>(`${queuePath(held)}/lock`, { tenant: held.tenant })
        .then((lock) => told(held, lock))
        .catch((error: unknown) => {
          if (error instanceof Problem && error.status === 409) told(held, error.lock);
          sayError(error);
        });
    }, RENEW_MS);
    return () => clearInterval(timer);
  }, [mine]);
}
