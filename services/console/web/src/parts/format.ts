/** Numbers, money and times for people. Money has its currency's decimals; times are in the reader's zone. */

const decimals = new Map<string, number>();

/** How many decimals a currency has; 2 where the browser does not know it. */
export function decimalsOf(currency: string): number {
  let found = decimals.get(currency);
  if (found === undefined) {
    try {
      found = new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits ?? 2;
    } catch {
      found = 2;
    }
    decimals.set(currency, found);
  }
  return found;
}

export function money(minor: number, currency: string): string {
  const digits = decimalsOf(currency);
  return `${new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(minor / 10 ** digits)} ${currency}`;
}

/** A sum in three significant digits: 8.86k EUR */
export function shortMoney(minor: number, currency: string): { value: string; currency: string } {
  const value = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(minor / 10 ** decimalsOf(currency));
  return { value, currency };
}

export const whole = (value: number): string => new Intl.NumberFormat("en", { maximumFractionDigits: 0 }).format(value);

/** A number with about `digits` significant digits, never with an exponent. */
export const number = (value: number, digits = 4): string =>
  new Intl.NumberFormat("en", { maximumSignificantDigits: Math.max(digits, 1) }).format(value);

export const score = (value: number | null): string => (value === null ? "no score" : value.toFixed(4));

export const percent = (share: number, digits = 1): string => `${(100 * share).toFixed(digits)} %`;

/** 42 s, 5 min, 3 h 20 min, 2 d 4 h */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

/** The largest unit of a span alone: 42 s, 5 min, 3 h, 2 d */
export const briefSpan = (seconds: number): string => span(seconds).split(" ").slice(0, 2).join(" ");

export const words = (name: string): string => name.replaceAll("_", " ");

const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayTime = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const yearTime = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });

/** Today's moments as a time, this year's with their day, others with their year. */
export function moment(at: Date, now: Date): string {
  if (at.toDateString() === now.toDateString()) return time.format(at);
  return at.getFullYear() === now.getFullYear() ? dayTime.format(at) : yearTime.format(at);
}
