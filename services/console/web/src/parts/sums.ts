import type { Money } from "../api/types";

/** The amounts of payments by currency; those that are not known count nothing. */
export function sumsOf(rows: readonly { amount_minor: number | null; currency: string | null }[]): Money[] {
  const by = new Map<string, number>();
  for (const row of rows) if (row.currency !== null && row.amount_minor !== null) by.set(row.currency, (by.get(row.currency) ?? 0) + row.amount_minor);
  return [...by].map(([currency, minor]) => ({ currency, minor }));
}
