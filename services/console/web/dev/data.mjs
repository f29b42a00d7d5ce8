// What the development server answers: payments of a made-up shop, in the shapes of the API. The same on each start.

let state = 42;
export const random = () => {
  state = (state * 1664525 + 1013904223) % 4294967296;
  return state / 4294967296;
};
const pick = (from) => from[Math.floor(random() * from.length)];
const now = Date.now();
const iso = (ms) => new Date(ms).toISOString();

const REASONS = [
  ["CARD_COUNT_1H", "7 payments of the card in the last hour"],
  ["CARD_SPEED", "1,840 km/h between the last two places of the card"],
  ["AMOUNT", "amount 1,299.00 EUR"],
  ["MERCHANT_FRAUD_RATE_30D", "4.1 % of the merchant's payments were fraud"],
  ["DEVICE_CARDS_24H", "9 cards on this device in the last 24 hours"],
  ["NIGHT", "at night"],
];

/** Names as a producer may choose them: they must come out as text. */
export const NASTY = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "فروشگاه بازار", "🛒 café", "{{7*7}}"];

export function payment(index, nasty = false) {
  const score = 0.42 + 0.5 * random();
  const amount = Math.round(500 + 200_000 * random() ** 3);
  const currency = pick(["EUR", "EUR", "EUR", "JPY", "KWD"]);
  const age = Math.round(60 + 40_000 * random() ** 2);
  const reasons = REASONS.slice(index % 4, (index % 4) + 3).map(([code, text], at) => ({ code, text, contribution: at === 2 ? -0.31 : 1.9 - 0.6 * at }));
  const rules = index % 5 === 0 ? ["amount-over-limit"] : [];
  return {
    transaction_id: nasty ? NASTY[index % NASTY.length] + index : `tx-${(0x8f1c00 + index * 7919).toString(16)}`,
    tenant: "default",
    decision: "review",
    status: index % 17 === 3 ? "degraded" : "scored",
    score,
    amount_minor: amount,
    currency,
    card_id: nasty ? NASTY[(index + 1) % NASTY.length] : `card-${1000 + (index % 60)}`,
    merchant_id: nasty ? NASTY[(index + 2) % NASTY.length] : `m-${index % 23}`,
    device_id: index % 3 ? `d-${index % 41}` : null,
    ip: `203.0.113.${index % 250}`,
    customer_id: null,
    channel: pick(["ecom", "pos", "moto"]),
    country: pick(["FR", "DE", "NL", "BR"]),
    event_time: iso(now - age * 1000),
    decided_at: iso(now - age * 1000 + 7),
    latency_ms: 4 + 8 * random(),
    reasons: rules.length ? [{ code: "RULE", text: "rule amount-over-limit: more than 1,000.00 EUR at a merchant younger than a month" }, ...reasons] : reasons,
    rules,
    degraded_by: index % 17 === 3 ? ["merchant_features"] : [],
    model_version: "1.4.0",
    policy_version: "12",
    arm: "champion",
    expected_loss_minor: Math.round(score * amount),
    age_s: age,
    label: null,
    lock: index % 9 === 4 ? { owner: "ben", until: iso(now + 240_000), mine: false } : null,
    notes: 0,
  };
}

export const queue = (count) => {
  const rows = Array.from({ length: count }, (_, index) => payment(index, index % 40 === 2));
  return rows.sort((a, b) => b.expected_loss_minor * b.age_s - a.expected_loss_minor * a.age_s);
};

export const second = (t) => {
  const base = 1000 + 160 * Math.sin(t / 240) + 60 * random();
  const [review, decline] = [Math.round(base * 0.021 + 3 * random()), Math.round(base * 0.006 + 2 * random())];
  const degraded = t % 300 < 12 ? Math.round(8 * random()) : 0;
  return { t, approve: Math.round(base) - review - decline, review, decline, scored: Math.round(base) - degraded, degraded, not_scored: 0, p50_ms: 5.2 + random(), p99_ms: 17 + 6 * random() + (t % 300 < 12 ? 20 : 0) };
};

export const model = (version, state, by, ap) => ({
  model: "fraud", version, state, reviewed: state !== "awaiting approval", by, why: state === "rejected" ? "misses the attack of October" : "monthly", since: iso(now - 86_400_000 * 9),
  created_at: iso(now - 86_400_000 * 10), auc_roc: 0.9 + ap / 20, average_precision: ap, card_precision_at_100: 0.61, rows: { train: 812_331, test: 203_082 },
}); // prettier-ignore

export const rollout = {
  model: "fraud", state: "canary", step: 3, steps: [{ kind: "shadow", min_decisions: 5000 }, { kind: "canary", share: 0.01, min_decisions: 2000, min_s: 600 }, { kind: "canary", share: 0.05, min_decisions: 5000 }, { kind: "canary", share: 0.25, min_decisions: 10_000 }, { kind: "canary", share: 1 }], plan_kind: "canary", started_by: "anna", loaded: true, decisions: 41_203, arms: { champion: "1.4.0", challenger: "1.5.0" }, traffic: { champion: 0.95, challenger: 0.05 }, shadow: false,
  since: iso(now - 7_200_000), step_since: iso(now - 1_500_000), why: "monthly", by: "anna", pause: "",
  checks: [
    { name: "error_rate", result: "pass", n: 41_203, estimate: 0.0001, low: 0, high: 0.0004, limit: "at most 0.001" },
    { name: "latency_p99_ms", result: "pass", n: 41_203, estimate: 18.4, low: 17.2, high: 20.1, limit: "at most 40 ms" },
    { name: "decline_rate", result: "inconclusive", n: 41_203, estimate: 1.06, low: 0.91, high: 1.31, limit: "at least 0.8 and at most 1.2 (ratio to the champion)" },
    { name: "score_psi", result: "too_few", n: 812, estimate: null, low: null, high: null, limit: "at most 0.1" },
  ],
  history: [
    { at: iso(now - 7_200_000), state: "shadow", step: 0, champion: "1.4.0", challenger: "1.5.0", traffic: { champion: 1, challenger: 0 }, by: "anna", why: "monthly", sequence: 7 },
    { at: iso(now - 3_600_000), state: "canary", step: 1, champion: "1.4.0", challenger: "1.5.0", traffic: { champion: 0.99, challenger: 0.01 }, by: "rollout", why: "every check passed", sequence: 8 },
    { at: iso(now - 1_500_000), state: "canary", step: 2, champion: "1.4.0", challenger: "1.5.0", traffic: { champion: 0.95, challenger: 0.05 }, by: "rollout", why: "every check passed", sequence: 9 },
  ],
}; // prettier-ignore

export const alerts = [
  { alert: "ConsumerLagGrowing", severity: "page", since: iso(now - 600_000), summary: "group tollgate-labels is 12,000 records behind on labels and growing", runbook: "http://127.0.0.1:19007/runbooks/ConsumerLagGrowing", silenced: false },
  { alert: "DriftDetected", severity: "ticket", since: iso(now - 7_600_000), summary: "card_sum_24h drifts: PSI 0.31 in three windows in a row", runbook: "http://127.0.0.1:19007/runbooks/DriftDetected", silenced: true },
]; // prettier-ignore

const hits = (week) => ({ day: Math.round(week / 7), week, approved: Math.round(week / 3), fraud: Math.round(week / 5), legit: Math.round(week / 4), open: Math.round(week / 2) });
export const rules = {
  model_version: "1.4.0", policy_version: "12", review: 0.4312, decline: 0.9127, without_score: "review", thresholds: [{ tenant: "shop-b", review: 0.38, decline: 0.9 }], expected_loss: { currency: "EUR" },
  rules: [
    { name: "amount-over-limit", when: "amount_minor > 100000 and merchant_age_d < 30", action: "review", owner: "payments-risk", reason: "more than 1,000.00 EUR at a merchant younger than a month", tenants: [], expires: null, expired: false, hits: hits(340) },
    { name: "velocity-atm", when: "channel = 'atm' and card_count_1h >= 6", action: "decline", owner: "anna", reason: "cash-out of October", tenants: ["default"], expires: iso(now + 86_400_000 * 21), expired: false, hits: hits(61) },
  ],
  lists: [{ name: "stolen-devices", kind: "block", field: "device_id", owner: "anna", reason: "case 118", tenants: [], entries: 214, expired: 3, next_expiry: iso(now + 86_400_000 * 2), hits: hits(18) }],
}; // prettier-ignore

export const processes = ["kafka", "redis", "processor-0", "scoring-stream-0", "scoring-http-0", "labels", "archive", "drift", "rollout", "trainer", "prometheus", "alertmanager", "mlflow", "oncall", "console"].map((name, index) => ({
  name, pid: 4000 + index, state: name === "mlflow" ? "not answering" : "running", restarts: name === "drift" ? 1 : 0, rss_mb: 120 + 70 * index, cpu_s: 12.34 * (index + 1),
})); // prettier-ignore

export const ago = (seconds) => iso(now - seconds * 1000);
