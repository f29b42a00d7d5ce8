/** The shapes of /api/v1. Times are RFC 3339 in UTC, money is in minor units of its currency. A test holds them against the API's OpenAPI. */

export type Verdict = "approve" | "review" | "decline";
export type Status = "scored" | "degraded" | "not_scored";
export type LabelName = "fraud" | "legit";

/** How far the console is behind the decisions, and what keeps it from reading them. */
export interface Behind {
  behind_s: number;
  behind_records: number;
  problem: string | null;
}

export interface Session {
  person: string;
  role: string;
  permissions: string[];
  tenants: string[];
  can_sign: boolean;
  expires_at: string;
  home: string;
  version: string;
  console: Behind;
  /** until when the person may do what an emergency needs; null: only what their role may */
  glass_until: string | null;
  /** a review is to be labelled within this time of its decision */
  review_within_s: number;
}

export interface Reason {
  code: string;
  text: string;
  contribution?: number | null;
}

export interface Lock {
  owner: string;
  until: string;
  mine: boolean;
}

export interface Label {
  label: LabelName;
  by: string | null;
  source: string;
  at: string;
  state: "waiting" | "sent" | "matured";
  sends_at: string | null;
}

export interface DecisionRow {
  transaction_id: string;
  tenant: string;
  decision: Verdict;
  status: Status;
  score: number | null;
  amount_minor: number | null;
  currency: string | null;
  card_id: string;
  merchant_id: string | null;
  device_id: string | null;
  ip: string | null;
  customer_id: string | null;
  channel: string | null;
  country: string | null;
  event_time: string;
  decided_at: string;
  latency_ms: number;
  reasons: Reason[];
  rules: string[];
  degraded_by: string[];
  model_version: string;
  policy_version: string;
  arm: string;
  expected_loss_minor: number | null;
  age_s: number;
  label: Label | null;
  lock: Lock | null;
  notes: number;
}

/** Of the live stream: how many reviews are open, and how far the console has come, as a list's `mark`. */
export interface QueueEvent {
  open: number;
  mark: number;
}

/** Open reviews, the most urgent first. `open`: how many fit; `mark`: all that came later are after it. */
export interface QueueAnswer {
  rows: DecisionRow[];
  open: number;
  mark: number;
  next: string | null;
  as_of: string;
}

export interface Money {
  currency: string;
  minor: number;
  payments?: number;
}

export interface Alert {
  alert: string;
  severity: string;
  since: string;
  summary: string;
  runbook: string;
  silenced: boolean;
}

export interface Overview {
  at: string;
  state: string;
  problems: string[];
  model: { version: string; reviewed: boolean; approved_by: string; since: string } | null;
  rollout: Rollout | null;
  alerts: Alert[] | null;
  lag: { group: string; topic: string; records: number }[] | null;
  last_minute: {
    decisions: number;
    per_s: number;
    scored: number;
    approve: number;
    review: number;
    decline: number;
    degraded: number;
    not_scored: number;
    p50_ms: number | null;
    p99_ms: number | null;
  };
  queue: { open: number; late: number; oldest_age_s: number | null; expected_loss: Money[] };
  labels: { window_days: number; caught: Money[]; missed: Money[]; honest_stopped: Money[]; honest_reviewed: Money[] };
  console: Behind & { days: number; rows: number };
}

export interface Second {
  t: number;
  approve: number;
  review: number;
  decline: number;
  scored: number;
  degraded: number;
  not_scored: number;
  p50_ms: number | null;
  p99_ms: number | null;
}

export type Series = { step_s: number; t: number[] } & { [name in Exclude<keyof Second, "t">]: (number | null)[] };

export interface Found<Row> {
  rows: Row[];
  next: string | null;
  counted: number;
}

export interface Note {
  id: number;
  by: string;
  at: string;
  text: string;
}

export interface Matched {
  name: string;
  kind?: string;
  when?: string;
  owner?: string;
  reason?: string;
  values: Record<string, string | number | null>;
}

export interface DecisionWhole {
  decision: {
    transaction_id: string;
    decision: Verdict;
    status: Status;
    score: number | null;
    reasons: Reason[];
    model: string;
    model_version: string;
    policy_version: string;
    features_version: string;
    arm: string;
    shadow: Record<string, number>;
    rules: string[];
    event_time: string;
    received_at: string;
    decided_at: string;
    latency_ms: number;
    card_id: string;
    tenant: string;
    degraded_by?: string[];
  };
  matched: Matched[];
  thresholds: { review: number; decline: number } | null;
  transaction: Record<string, unknown> | null;
  features: Record<string, number | null> | null;
  found_in: { decision: string; features: string | null };
  row: DecisionRow | null;
  label: Label | null;
  lock: Lock | null;
  notes: Note[];
}

export interface Payment {
  transaction_id: string;
  decision: Verdict;
  status: Status;
  score: number | null;
  amount_minor: number | null;
  currency: string | null;
  merchant_id: string | null;
  channel: string | null;
  country: string | null;
  event_time: string;
  label: LabelName | null;
  this: boolean;
}

export interface FeatureInfo {
  name: string;
  entity: string;
  unit: string;
  window_s: number | null;
  description: string;
}

export interface ModelRow {
  model: string;
  version: string;
  state: string;
  reviewed: boolean;
  by: string;
  why: string;
  since: string | null;
  created_at: string | null;
  auc_roc: number | null;
  average_precision: number | null;
  card_precision_at_100: number | null;
  /** of the gates: pass, fail, or null where there were none */
  verdict?: string | null;
  rows: unknown;
}

export interface Check {
  name: string;
  result: "pass" | "fail" | "inconclusive" | "too_few";
  n: number | null;
  estimate: number | null;
  low: number | null;
  high: number | null;
  /** in words: "at most 0.003" */
  limit: string | null;
}

export interface Rollout {
  model: string;
  state: string;
  step?: number | null;
  steps?: { kind: string; share?: number | null; min_decisions?: number; min_s?: number }[];
  started_by?: string;
  pause?: string | null;
  loaded?: boolean;
  decisions?: number | null;
  arms?: Record<string, string | null>;
  traffic?: Record<string, number>;
  since?: string | null;
  checks?: Check[];
  history?: Record<string, unknown>[];
  [more: string]: unknown;
}

export interface Rule {
  name: string;
  when: string;
  action: string;
  owner: string;
  reason: string;
  tenants: string[];
  expires: string | null;
  expired: boolean;
  hits?: Hits;
}

export interface Hits {
  day: number;
  week: number;
  /** of `week`: payments that were approved all the same */
  approved: number;
  fraud: number;
  legit: number;
  open: number;
}

export interface Rules {
  model_version: string;
  policy_version: string;
  review: number;
  decline: number;
  without_score: string;
  thresholds: { tenant?: string; channel?: string; review: number; decline: number }[];
  expected_loss: { currency: string } | null;
  rules: Rule[];
  lists: {
    name: string;
    kind: string;
    field: string;
    owner: string;
    reason: string;
    tenants: string[];
    entries: number;
    expired: number;
    next_expiry: string | null;
    hits?: Hits;
  }[];
}

export interface PolicySide {
  frauds_caught: number;
  frauds_missed: number;
  false_alarms: number;
  caught_minor: Record<string, number>;
  missed_minor: Record<string, number>;
  false_alarms_minor: Record<string, number>;
}

export interface RuleTest {
  rows: number;
  since: string;
  until: string;
  labels: { fraud: number; honest: number; unknown: number; censored: number };
  changed: Record<string, number>;
  before: PolicySide;
  after: PolicySide;
  rules: Record<string, { matched: number; changed: number; fraud: number; honest: number; censored: number; unknown: number }>;
  errors: Record<string, string>;
  samples: Sample[];
}

/** A past payment that another policy decides differently. */
export interface Sample {
  change: string;
  label: "fraud" | "honest" | "censored" | "unknown";
  rules: string[];
  transaction_id: string | null;
  tenant: string | null;
  card_id: string | null;
  merchant_id: string | null;
  amount_minor: number;
  currency: string;
  score: number | null;
}

export interface Process {
  name: string;
  pid: number | null;
  state: string;
  restarts: number;
  rss_mb: number | null;
  cpu_s: number | null;
}

export interface StackStatus {
  state: string;
  problems?: string[];
  processes: Process[];
  [more: string]: unknown;
}

export interface Finding {
  severity: string;
  feature: string;
  detector: string;
  since: string;
  last: string;
  rounds: number;
  statistic: number;
  p_value: number | null;
  psi: number | null;
  rows: number;
  model_version: string;
  /** what the drift probably comes from, and in words why */
  cause: "producer" | "attack" | "population" | null;
  why: string;
}
