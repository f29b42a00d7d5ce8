/** The small parts that every screen is made of. */

import { type ButtonHTMLAttributes, type ReactNode, useId } from "react";
import { Problem } from "../api/client";
import type { Money as Sum, Verdict as Name } from "../api/types";
import { keyOf, useKeys, type ActionId } from "../shell/keyboard";
import { moment, money } from "./format";

export function Time({ at }: { at: string | null | undefined }) {
  const when = at ? new Date(at) : null;
  if (when === null || Number.isNaN(when.getTime())) return <span className="quiet">–</span>;
  return (
    <time dateTime={when.toISOString()} title={`${when.toISOString().replace("T", " ").replace("Z", "")} UTC`} className="nowrap">
      {moment(when, new Date())}
    </time>
  );
}

export function Money({ minor, currency }: { minor: number | null; currency: string | null }) {
  if (minor === null || currency === null) return <span className="quiet" title="The payment itself has not arrived yet">–</span>;
  return <span className="nowrap">{money(minor, currency)}</span>;
}

/** Sums of several currencies: the largest first, never added up. */
export function Sums({ sums }: { sums: Sum[] }) {
  if (sums.length === 0) return <>0</>;
  return <>{[...sums].sort((a, b) => b.minor - a.minor).map((sum) => money(sum.minor, sum.currency)).join(" · ")}</>;
}

const SHAPES: Record<Name, ReactNode> = {
  approve: <circle cx="5" cy="5" r="4" fill="none" stroke="currentColor" strokeWidth="1.5" />,
  review: <path d="M5 0.6 9.4 5 5 9.4 0.6 5Z" fill="currentColor" />,
  decline: <rect x="0.75" y="0.75" width="8.5" height="8.5" fill="currentColor" />,
};

/** A decision: its word, its shape and its colour. */
export function Verdict({ name }: { name: Name }) {
  return (
    <span className={`verdict ${name}`}>
      <svg viewBox="0 0 10 10" aria-hidden="true">
        {SHAPES[name]}
      </svg>
      {name}
    </span>
  );
}

export function Tag({ tone = "", children }: { tone?: "" | "good" | "warn" | "bad" | "accent"; children: ReactNode }) {
  return <span className={`tag ${tone}`}>{children}</span>;
}

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: "" | "primary" | "danger" | "plain" | "icon plain";
  shortcut?: ActionId;
  /** why the button cannot be used; null: it can */
  refused?: string | null;
}

/** A button that cannot be used can still be reached, and says why. */
export function Button({ look = "", shortcut, refused, children, onClick, type = "button", ...rest }: ButtonProps) {
  const keys = useKeys();
  const id = useId();
  return (
    <>
      <button
        type={type}
        className={`button ${look}`}
        aria-disabled={refused ? true : undefined}
        aria-describedby={refused ? id : undefined}
        title={refused ?? undefined}
        onClick={refused ? undefined : onClick}
        {...rest}
      >
        {children}
        {shortcut && keys.on && <kbd aria-hidden="true">{keyOf(keys, shortcut)}</kbd>}
      </button>
      {refused && (
        <span id={id} className="hidden-text">
          {refused}
        </span>
      )}
    </>
  );
}

/** What stands below the bar: one screen. */
export function Screen({ children }: { children: ReactNode }) {
  return (
    <main id="screen" className="screen">
      <div className="stack">{children}</div>
    </main>
  );
}

export function Panel({ title, aside, children, className = "", bare = false }: { title: string; aside?: ReactNode; children: ReactNode; className?: string; bare?: boolean }) {
  const id = useId();
  return (
    <section className={`panel ${className}`} aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      {bare ? children : <div className="body">{children}</div>}
    </section>
  );
}

export function Figure({ name, value, unit, note }: { name: string; value: ReactNode; unit?: string; note?: ReactNode }) {
  return (
    <div className="figure">
      <dt>{name}</dt>
      <dd className="value">
        {value}
        {unit && <span className="unit">{unit}</span>}
      </dd>
      {note && <dd className="note">{note}</dd>}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="state">
      <h2>{title}</h2>
      {children && <p>{children}</p>}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div className="state" role="status">
      <p>Loading {what} …</p>
    </div>
  );
}

/** What went wrong in the words of the API, what it means, and a way on. */
export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = error instanceof Problem ? error : null;
  const title =
    problem?.status === 403 ? "You may not see this" : problem?.status === 404 ? "Not found" : problem?.reason === "unreachable" ? "A part cannot be reached" : "This could not be loaded";
  return (
    <div className="state" role="alert">
      <h2>{title}</h2>
      <p className="break">{error instanceof Error ? error.message : String(error)}</p>
      {retry && problem?.status !== 403 && (
        <div className="row">
          <Button onClick={retry}>Try again</Button>
        </div>
      )}
    </div>
  );
}

export interface Asked<Data> {
  data: Data | undefined;
  error: unknown;
  isPending: boolean;
  refetch: () => unknown;
}

/** The answer of a query, or its loading or error state. An answer that is there stays while a newer one fails. */
export function Answer<Data>({ of, what, children }: { of: Asked<Data>; what: string; children: (data: Data) => ReactNode }) {
  if (of.data !== undefined) return <>{children(of.data)}</>;
  if (of.isPending) return <Loading what={what} />;
  return <Failed error={of.error} retry={() => void of.refetch()} />;
}

export function Field({ name, hint, wrong, children }: { name: string; hint?: string; wrong?: string; children: (id: string) => ReactNode }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{name}</label>
      {children(id)}
      {hint && <span className="quiet">{hint}</span>}
      {wrong && (
        <span className="wrong" role="alert">
          {wrong}
        </span>
      )}
    </div>
  );
}

export function Segments<Value extends string>({ name, value, options, change }: { name: string; value: Value; options: readonly (readonly [Value, string])[]; change: (value: Value) => void }) {
  return (
    <div className="segments" role="group" aria-label={name}>
      {options.map(([option, text]) => (
        <button key={option} type="button" aria-pressed={option === value} onClick={() => change(option)}>
          {text}
        </button>
      ))}
    </div>
  );
}
