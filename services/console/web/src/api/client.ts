/** Calls of /api/v1. Every failure is a `Problem` with a sentence for people; 401 tells the shell that the session has ended. */

import type { Label, Lock } from "./types";

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly reason: string,
    detail: string,
    readonly field = "",
    readonly lock: Lock | null = null,
    readonly retryAfterS: number | null = null,
    readonly label: Label | null = null,
  ) {
    super(detail);
  }
}

/** A call that takes longer is given up: a spinner that never ends tells nobody anything. Tests of rules read a week of payments. */
const WITHIN_MS = 60_000;

let whenSignedOut: () => void = () => undefined;

export function onSignedOut(call: () => void): void {
  whenSignedOut = call;
}

export type Query = Record<string, string | number | boolean | null | undefined | string[]>;

export function queryText(query: Query): string {
  const out = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) out.append(name, String(one));
  }
  const text = out.toString();
  return text && `?${text}`;
}

async function call<Answer>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Answer> {
  const limit = AbortSignal.timeout(WITHIN_MS);
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      credentials: "same-origin",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const late = limit.aborted;
    throw new Problem(0, "unreachable", late ? "The console did not answer within a minute." : "The console does not answer. Is the stack up? `tollgate status`");
  }
  if (response.status === 204) return null as Answer;
  const said: unknown = await response.json().catch(() => null);
  if (response.ok) return said as Answer;
  const problem = await problemOf(response, said);
  // the question who is signed in is itself the answer to it
  if (problem.reason === "signed_out" && path !== "/session") whenSignedOut();
  throw problem;
}

function problemOf(response: Response, said: unknown): Problem {
  const found = (typeof said === "object" && said !== null ? said : {}) as Record<string, unknown>;
  const after = Number(response.headers.get("Retry-After"));
  return new Problem(
    response.status,
    typeof found.reason === "string" ? found.reason : "internal",
    typeof found.detail === "string" ? found.detail : `The console answered ${response.status}.`,
    typeof found.field === "string" ? found.field : "",
    (found.lock as Lock | undefined) ?? null,
    after > 0 ? after : null,
    (found.label as Label | undefined) ?? null,
  );
}

export const get = <Answer>(path: string, query: Query = {}, signal?: AbortSignal): Promise<Answer> =>
  call<Answer>("GET", path + queryText(query), undefined, signal);
export const post = <Answer>(path: string, body: unknown = {}): Promise<Answer> => call<Answer>("POST", path, body);
export const put = <Answer>(path: string, body: unknown = {}): Promise<Answer> => call<Answer>("PUT", path, body);
export const remove = <Answer>(path: string, query: Query = {}): Promise<Answer> => call<Answer>("DELETE", path + queryText(query));

/** An identifier as one part of a path: producers choose them, so they may hold slashes and anything printable. */
export const part = (text: string): string => encodeURIComponent(text);
