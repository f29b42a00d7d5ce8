// A stand-in for the console's API, for work on the pages without a stack: `node dev/server.mjs [--port N] [--dist] [--rows N]`.
// With --dist it also serves the built pages under the headers of the real one. Any name signs in; the role is the name's
// ending ("anna-analyst"), else operator. It keeps what is done in memory and checks nothing that the API's own tests check.

import { createReadStream, existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { caseRoutes } from "./cases.mjs";
import { alerts, ago, model, payment, processes, queue, random, rollout, rules, second } from "./data.mjs";

const option = (name, fallback) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? fallback : process.argv[at + 1];
};
const PORT = Number(option("--port", "5174"));
const DIST = process.argv.includes("--dist") ? join(import.meta.dirname, "..", "dist") : null;
const rows = queue(Number(option("--rows", "420")));
const MAY = { analyst: ["propose", "label", "read"], approver: ["approve", "reject", "rollback", "read"], operator: ["propose", "approve", "reject", "rollback", "retrain", "score", "label", "read", "operate", "access"] };
const UNDO_MS = 10_000;
const ENTITIES = [["card", "card_id"], ["device", "device_id"], ["ip", "ip"], ["merchant", "merchant_id"]];
/** by the text of a cookie; requests are answered one after the other, so `session` is the asker's */
const sessions = new Map();
let session = null;
const policy = readText();

function readText() {
  return rules.rules.map((rule) => `[[rules]]\nname = "${rule.name}"\nwhen = "${rule.when}"\naction = "${rule.action}"\nowner = "${rule.owner}"\nreason = "${rule.reason}"\n`).join("\n");
}

const problem = (status, reason, detail, more = {}) => ({ status, body: { type: `urn:tollgate:problem:${reason}`, status, reason, detail, field: "", ...more } });
const find = (id) => rows.find((row) => row.transaction_id === id);
const open = () => rows.filter((row) => row.label === null).length;
const lockOf = (owner) => ({ owner, until: new Date(Date.now() + 300_000).toISOString(), mine: owner === session?.person });

function label(row, name) {
  row.label = { label: name, by: session.person, source: "analyst", at: new Date().toISOString(), state: "waiting", sends_at: new Date(Date.now() + UNDO_MS).toISOString() };
  row.lock = null;
  return row.label;
}

function filtered(query) {
  const least = Number(query.get("min_score") || 0);
  return rows.filter((row) => row.label === null && (row.score ?? 0) >= least && (!query.get("rule") || row.rules.includes(query.get("rule"))) && (!query.get("reason") || row.reasons.some((reason) => reason.code === query.get("reason"))) && (!query.get("currency") || row.currency === query.get("currency")) && (query.get("locked") !== "free" || !row.lock) && (query.get("locked") !== "mine" || row.lock?.mine));
}

const point = ({ status, score, merchant_id, channel, country }) => ({ status, score, merchant_id, channel, country });

const timeline = (row, limit) => ({
  card_id: row.card_id,
  from: "console",
  rows: Array.from({ length: Math.min(limit, 24) }, (_, index) => ({ ...point(payment(5000 + index)), decision: index === 4 ? "review" : index % 11 === 9 ? "decline" : "approve", amount_minor: index === 4 ? row.amount_minor : 900 + Math.round(9000 * random()), currency: row.currency, event_time: index === 4 ? row.event_time : new Date(new Date(row.event_time).getTime() + (4 - index) * 5_400_000).toISOString(), transaction_id: index === 4 ? row.transaction_id : `tx-past-${index}`, label: index % 11 === 9 ? "fraud" : null, this: index === 4 })),
});

function whole(row) {
  const { label: given, lock, notes: _notes, expected_loss_minor: _loss, age_s: _age, amount_minor, currency, ...decision } = row;
  return {
    decision: { ...decision, model: "fraud", features_version: "c1a9f24e", shadow: { "1.5.0": 0.61 }, received_at: row.event_time },
    matched: row.rules.map((name) => ({ ...rules.rules.find((rule) => rule.name === name), kind: "review", values: { amount_minor, merchant_age_d: 12 } })),
    thresholds: { review: 0.4312, decline: 0.9127 },
    transaction: { transaction_id: row.transaction_id, event_time: row.event_time, card_id: row.card_id, merchant_id: row.merchant_id, amount_minor, currency, device_id: row.device_id, ip: row.ip, channel: row.channel, country: row.country, mcc: "5411", tenant: "default" },
    features: Object.fromEntries(features().map(({ name }, index) => [name, index % 7 === 3 ? null : Math.round(1e6 * random()) / 100])),
    found_in: { decision: "index", features: "log" },
    row,
    label: given,
    lock,
    notes: row.kept ?? [],
  };
}

const features = () => ["card", "merchant", "device", "ip"].flatMap((entity) => ["count_1h", "sum_24h", "mean_7d", "max_30d"].map((what) => ({ name: `${entity}_${what}`, entity, unit: what.startsWith("count") ? "transactions" : "minor units", window_s: 3600, description: `${what.replaceAll("_", " ")} of the ${entity}` })));

const side = (caught) => ({ frauds_caught: caught, frauds_missed: 40 - caught, false_alarms: 61 + caught, caught_minor: { EUR: caught * 31_200 }, missed_minor: { EUR: (40 - caught) * 12_000 }, false_alarms_minor: { EUR: 812_300 } });

const GATES = {
  verdict: "pass", candidate: "1.5.0", live: "1.4.0", rows: 98_210, frauds: 812, hidden_groups: 4,
  checks: [{ name: "average_precision", result: "pass", n: 98_210, estimate: 0.021, low: 0.008, high: 0.034, limit: 0, required: true, why: "ranks frauds better than the live model" }, { name: "false_alarms", result: "inconclusive", n: 97_398, estimate: 1.02, low: 0.94, high: 1.1, limit: 1.05, required: false, why: "as many honest customers are stopped, within the interval" }],
  groups: [{ dimension: "country", group: "BR", rate: "false_alarms", result: "pass", n: 4_021, share: 0.021, others_share: 0.019, ratio: 1.1, low: 0.9, high: 1.34, live_ratio: 1.12 }, { dimension: "amount", group: "low", rate: "recall", result: "inconclusive", n: 118, share: 0.61, others_share: 0.7, ratio: 0.87, low: 0.74, high: 1.01, live_ratio: 0.88 }],
}; // prettier-ignore

const ROUTES = [
  ...caseRoutes(rows, () => session, problem, label),
  ["GET", /^\/overview$/, () => ({ at: new Date().toISOString(), state: "degraded", problems: ["mlflow runs and does not answer: its pages are away, decisions go on"], model: { version: "1.4.0", reviewed: true, approved_by: "ben", since: ago(780_000) }, rollout, alerts, lag: [{ group: "tollgate-scoring", topic: "features", records: 12 }, { group: "tollgate-labels", topic: "labels", records: 12_041 }, { group: "tollgate-archive", topic: "decisions", records: 3 }], last_minute: { decisions: 60_210, per_s: 1003.5, scored: 60_196, approve: 58_600, review: 1250, decline: 360, degraded: 14, not_scored: 0, p50_ms: 6.1, p99_ms: 21 }, queue: { open: open(), late: 3, oldest_age_s: 40_310, expected_loss: [{ currency: "EUR", minor: 991_200 }, { currency: "JPY", minor: 81_000 }] }, labels: { window_days: 30, caught: [{ currency: "EUR", minor: 8_862_300, payments: 212 }], missed: [{ currency: "EUR", minor: 1_920_400, payments: 31 }], honest_stopped: [{ currency: "EUR", minor: 1_203_100, payments: 96 }], honest_reviewed: [{ currency: "EUR", minor: 4_110_900, payments: 301 }] }, console: { behind_s: 0.2, behind_records: 150, problem: null, days: 30, rows: 81_234 } })], // prettier-ignore
  ["GET", /^\/series$/, (_m, query) => { const step = Number(query.get("step") || 1); const end = Math.floor((query.get("to") ? Date.parse(query.get("to")) : Date.now()) / 1000); const count = Math.min(3600, Math.floor((Number(query.get("seconds")) || 900) / step)); const points = Array.from({ length: count }, (_, index) => second(end - (count - index) * step)); return { step_s: step, ...Object.fromEntries(Object.keys(points[0]).map((name) => [name, points.map((point) => (name === "t" || name.endsWith("_ms") ? point[name] : point[name] * step))])) }; }], // prettier-ignore
  ["GET", /^\/queue$/, (_m, query) => { const found = filtered(query); const from = Number(query.get("cursor") || 0); const to = from + Number(query.get("limit") || 100); return { rows: found.slice(from, to), open: found.length, mark: rows.length, next: to < found.length ? String(to) : null, as_of: new Date().toISOString() }; }], // prettier-ignore
  // what no API has: one more review, for tests
  ["POST", /^\/dev\/arrive$/, () => { rows.push({ ...payment(rows.length), transaction_id: `tx-new-${rows.length}` }); return null; }], // prettier-ignore
  ["GET", /^\/queue\/colleagues$/, () => ["anna-operator", "ben", "dora"]],
  ["POST", /^\/queue\/next$/, () => { const row = rows.find((one) => one.label === null && one.lock === null); if (!row) return null; row.lock = lockOf(session.person); return row; }], // prettier-ignore
  ["POST", /^\/queue\/label$/, (_m, _q, body) => { const accepted = body.items.filter((item) => { const row = find(item.transaction_id); return row && row.label === null && label(row, body.label); }).map((item) => item.transaction_id); return { accepted, refused: [], sends_at: new Date(Date.now() + UNDO_MS).toISOString() }; }], // prettier-ignore
  ["PUT", /^\/queue\/([^/]+)\/lock$/, ([id]) => { const row = find(id); if (row.lock && !row.lock.mine) return problem(409, "locked", `${row.lock.owner} holds it`, { lock: row.lock }); row.lock = lockOf(session.person); return row.lock; }], // prettier-ignore
  ["DELETE", /^\/queue\/([^/]+)\/lock$/, ([id]) => { find(id).lock = null; return null; }], // prettier-ignore
  ["POST", /^\/queue\/([^/]+)\/hand-over$/, ([id], _q, body) => (find(id).lock = lockOf(body.to))],
  ["POST", /^\/queue\/([^/]+)\/label$/, ([id], _q, body) => { const row = find(id); if (row.lock && !row.lock.mine) return problem(409, "locked", `${row.lock.owner} holds it`, { lock: row.lock }); if (body.first && row.label) return problem(409, "labelled", `${row.label.by} has labelled it already: ${row.label.label}`, { label: row.label }); return label(row, body.label); }], // prettier-ignore
  ["DELETE", /^\/queue\/([^/]+)\/label$/, ([id]) => { const row = find(id); if (row.label && Date.parse(row.label.sends_at) < Date.now()) return problem(409, "already_sent", "the label was sent: post the other one to correct it"); row.label = null; return null; }], // prettier-ignore
  ["GET", /^\/decisions$/, (_m, query) => { const found = rows.filter((row) => ENTITIES.every(([name, column]) => !query.get(name) || row[column] === query.get(name)) && (!query.get("q") || row.transaction_id.startsWith(query.get("q")))); return { rows: found.slice(0, 100), next: null, counted: found.length }; }], // prettier-ignore
  ["GET", /^\/decisions\/([^/]+)\/timeline$/, ([id], query) => timeline(find(id) ?? rows[0], Number(query.get("limit") || 200))],
  ["GET", /^\/decisions\/([^/]+)\/related$/, ([id]) => ({ groups: [{ entity: "device", id: find(id)?.device_id ?? "d-5", count: 9, rows: rows.slice(3, 7) }, { entity: "card", id: find(id)?.card_id ?? "card-1", count: 2, rows: rows.slice(7, 9) }] })],
  ["GET", /^\/decisions\/([^/]+)\/trace$/, ([id]) => { const at = (ms) => new Date(Date.parse("2026-11-30T20:00:00Z") + ms).toISOString(); const span = (process, name, from, to, waited_for = true) => ({ process, name, start: at(from), end: at(to), ms: to - from, waited_for }); return { transaction_id: id, trace_id: "4bf92f3577b34da6a3ce929d0e0e4736", edge: "kafka", total_ms: 31, spans: [span("kafka", "transactions", 0, 4), span("processor", "features", 4, 13), span("scoring", "score and decide", 13, 27), span("kafka", "decisions", 27, 31), span("archive", "archived", 31, 78, false)] }; }], // prettier-ignore
  ["GET", /^\/decisions\/([^/]+)\/explained$/, () => ({ decision: {}, reasons: [], moved_by: [{ feature: "card_count_1h", value: 7, contribution: 1.9 }, { feature: "card_speed_kmh", value: 1840, contribution: 1.3 }], model: { name: "fraud", version: "1.4.0", policy_version: "12" }, approved: { state: "live", by: "ben", why: "better on October" }, data: { fingerprint: "sha256:9f2c" }, code_version: "ce912c3", trained_at: ago(900_000) })], // prettier-ignore
  ["GET", /^\/decisions\/([^/]+)\/again$/, (_m, query) => { const today = query.get("today") === "true"; return { identical: !today, differences: today ? [{ field: "decision", decided: "review", replayed: "decline" }, { field: "score", decided: 0.71, replayed: 0.94 }] : [], left_out: [], today, model_version: today ? "1.5.0" : "1.4.0", policy_version: "12", features_from: "log", backend: "onnx" }; }], // prettier-ignore
  ["GET", /^\/decisions\/([^/]+)\/beside$/, () => ({ peers: 5000, past: 24, features: Object.fromEntries(features().map(({ name }, index) => [name, { peers: index % 5 === 4 ? null : (index * 37 % 100) / 100, past: index % 4 === 3 ? null : [10, 100 + 20 * index, 9000] }])) })], // prettier-ignore
  ["GET", /^\/doctor$/, () => ({ healthy: false, findings: [{ what: "group tollgate-labels is 12,000 records behind on labels", since: ago(600), runbook: "http://127.0.0.1/runbooks/ConsumerLagGrowing.md", wrong: true }] })],
  ["POST", /^\/decisions\/([^/]+)\/notes$/, ([id], _q, body) => { const row = find(id); row.kept = [...(row.kept ?? []), { id: Date.now(), by: session.person, at: new Date().toISOString(), text: body.text }]; return row.kept.at(-1); }], // prettier-ignore
  ["GET", /^\/decisions\/([^/]+)$/, ([id]) => (find(id) ? whole(find(id)) : problem(404, "unknown", `No decision of ${id} is known: neither in the index (60 days) nor in the archive. Was it refused? See dead letters.`))],
  ["GET", /^\/features$/, features],
  ["GET", /^\/models$/, () => [model("1.2.0", "superseded", "anna", 0.702), model("1.3.0", "rejected", "ben", 0.69), model("1.4.0", "live", "ben", 0.731), model("1.5.0", "awaiting approval", "trainer", 0.752)]],
  ["GET", /^\/models\/compare$/, () => { const of = (ap) => ({ auc_roc: 0.94, average_precision: ap, card_precision_at_100: 0.61, calibration_error: 0.012, review: { precision: 0.31, recall: 0.78 }, decline: { precision: 0.82, recall: 0.44 } }); return { versions: { candidate: "1.5.0", live: "1.4.0" }, candidate: of(0.752), live: of(0.731), switched_off: ["rule velocity-atm"] }; }], // prettier-ignore
  ["GET", /^\/models\/thresholds$/, (_m, query) => { const thresholds = Array.from({ length: 121 }, (_, at) => 1 / (1 + Math.exp(6.9 - (13.8 * at) / 120))); return { rows: 203_082, frauds: 1_204, days: 14, unseen_from_ms: 0, thresholds, versions: Object.fromEntries(query.getAll("version").map((version, index) => [version, { review: 0.4312, decline: 0.9127, stopped_per_day: thresholds.map((at) => 14_000 * (1 - at) ** (3 + index / 3)), precision: thresholds.map((at) => (at > 0.995 ? null : Math.min(1, 0.006 + at ** (1.4 - index / 5)))), recall: thresholds.map((at) => 1 - at ** (2.4 + index / 3)), missed_minor: { EUR: thresholds.map((at) => Math.round(9_000_000 * at ** 2)) } }])) }; }], // prettier-ignore
  ["GET", /^\/models\/at$/, (_m, query) => (Date.parse(query.get("time")) < Date.now() - 30 * 86_400_000 ? { model: "fraud", state: null, arms: {} } : { model: "fraud", state: "canary", since: ago(7200), sequence: 9, approved_by: "ben", why: "better on October", reviewed: true, shadow: null, arms: { champion: { version: "1.4.0", share: 0.95, policy_version: "12", thresholds: { review: 0.4312, decline: 0.9127, more: [] }, rules: ["velocity-atm"], lists: [] }, challenger: { version: "1.5.0", share: 0.05, problem: "it does not verify any more" } } })], // prettier-ignore
  ["GET", /^\/models\/([^/]+)\/evidence$/, ([version]) => ({ version, hash: "9f2c41d08ab3".repeat(5), page: "", expires_at: ago(-500_000), approvable: true, refused_for: null, pack: { model: "fraud", version, live: "1.4.0", software: "0.2.0", lineage: { code_version: "ce912c3", rows: 812_331 }, changes: [] } })], // prettier-ignore
  ["GET", /^\/models\/([^/]+)$/, ([version]) => ({ ...model(version, version === "1.5.0" ? "awaiting approval" : "live", "trainer", 0.752), signature: "verified", catalogue: { trained_on: "c1a9", running: "c1a9", same: true, does_not_use: [] }, policy: { version: "12", review: 0.4312, decline: 0.9127, rules: rules.rules.map(({ hits: _h, ...rule }) => rule) }, calibration: {}, evaluation: { auc_roc: 0.941, average_precision: 0.752, card_precision_at_100: 0.61, by_month: [{ month: "2026-09", rows: 81_220, average_precision: 0.74 }, { month: "2026-10", rows: 84_001, average_precision: 0.76 }], gates: GATES }, lineage: { data_fingerprint: "sha256:9f2c…", code: "ce912c3", parameters: { max_depth: 6, rounds: 220, eta: 0.1 } } })], // prettier-ignore
  ["POST", /^\/models\/([^/]+)\/(approve|reject|promote|rollout)$/, (_m, _q, body) => (body.why.includes("refuse") ? problem(409, "refused", "1.5.0 was proposed by trainer for anna: somebody else must approve it") : { replicas: ["scoring-stream-0", "scoring-http-0"] })],
  ["GET", /^\/rollout$/, () => rollout],
  ["POST", /^\/rollout\/(pause|resume|step|abort)$/, ([step]) => { rollout.state = step === "pause" ? "paused" : step === "abort" ? "rolled_back" : "canary"; return rollout; }], // prettier-ignore
  ["GET", /^\/drift$/, () => ({ findings: [{ severity: "critical", feature: "card_sum_24h", detector: "psi", since: ago(7600), last: ago(600), rounds: 3, statistic: 0.31, p_value: 1e-9, psi: 0.31, rows: 12_000, model_version: "1.4.0", cause: "attack", why: "38 % of the moved payments came from 12 new devices" }, { severity: "warning", feature: "mcc", detector: "chi2", since: ago(9600), last: ago(900), rounds: 1, statistic: 22.1, p_value: 0.0004, psi: 0.06, rows: 12_000, model_version: "1.4.0", cause: "producer", why: "one merchant sends another code since 14:02" }, { severity: "none", feature: "amount", detector: "ks", since: ago(9600), last: ago(900), rounds: 1, statistic: 0.01, p_value: 0.4, psi: 0.002, rows: 12_000, model_version: "1.4.0", cause: null, why: "" }], retraining: [{ model: "fraud", reason: "card_sum_24h drifts: PSI 0.31", requested_at: ago(500), dedupe_key: "a" }] })], // prettier-ignore
  ["GET", /^\/drift\/([^/]+)$/, ([feature]) => ({ feature, kind: "number", edges: [120, 400, 800, 1300, 2100, 3400, 5200, 9900, 18_000], reference: { rows: 5000, unknown: 0, shares: Array(10).fill(0.1) }, now: { rows: 5000, unknown: 0.012, shares: [0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.13, 0.14, 0.16], from: ago(900), to: ago(20) }, psi: 0.12 })], // prettier-ignore
  ["POST", /^\/models\/retrain$/, () => ({})],
  ["GET", /^\/performance$/, () => problem(404, "not_here", "this stack has no performance command")],
  ["GET", /^\/rules$/, () => rules],
  ["GET", /^\/rules\/text$/, () => ({ text: policy, policy_version: "12" })],
  ["POST", /^\/rules\/check$/, (_m, _q, body) => (body.text.includes("amonut") ? { good: false, errors: ['rule amount-over-limit: no field or feature "amonut_minor": did you mean amount_minor?'] } : { good: true, errors: [], warnings: [], expired: [], rules: 2, lists: 1, entries: 214 })],
  ["POST", /^\/rules\/test$/, () => ({ rows: 1_204_311, since: ago(604_800), until: ago(60), labels: { fraud: 40, honest: 3012, unknown: 1_200_004, censored: 361 }, changed: { "approve to review": 211, "review to decline": 12 }, before: side(22), after: side(29), rules: { "amount-over-limit": { matched: 340, changed: 211, fraud: 7, honest: 60, censored: 12, unknown: 261 } }, errors: {}, samples: rows.slice(0, 8).map((row, at) => ({ change: at < 5 ? "approve to review" : "review to decline", label: ["fraud", "honest", "unknown", "censored"][at % 4], rules: ["amount-over-limit"], transaction_id: row.transaction_id, tenant: row.tenant, card_id: row.card_id, merchant_id: row.merchant_id, amount_minor: row.amount_minor, currency: row.currency, score: row.score })) })], // prettier-ignore
  ["POST", /^\/rules\/propose$/, () => ({ version: "1.4.1", policy_version: "13" })],
  ["GET", /^\/rules\/vocabulary$/, () => ({ fields: ["amount_minor", "currency", "channel", "mcc"], features: features().map(({ name }) => name), functions: ["in", "between", "is null"] })],
  ["GET", /^\/status$/, () => ({ state: "degraded", problems: ["mlflow runs and does not answer"], processes })],
  ["GET", /^\/pages$/, () => ({ firing: alerts, history: alerts.map((alert) => ({ received_at: alert.since, status: "firing", ...alert })) })],
  ["GET", /^\/runbooks$/, () => ["ConsumerLagGrowing", "DeadLettersRising", "DecisionLatencyHigh", "DriftDetected", "KafkaDown", "RedisDown"]],
  ["GET", /^\/runbooks\/([^/]+)$/, ([name]) => { const path = join(import.meta.dirname, "../../../../infra/runbooks", `${name.replace(/\W/g, "")}.md`); return existsSync(path) ? { name, text: readFileSync(path, "utf8") } : problem(404, "unknown", `There is no runbook ${name}.`); }], // prettier-ignore
  ["POST", /^\/silences$/, (_m, _q, body) => ({ id: "s-1", until: new Date(Date.now() + body.minutes * 60_000).toISOString() })],
  ["GET", /^\/dead-letters$/, () => ({ counted: 2, rows: [{ id: "transactions/3/1881", reason: "invalid", field: "currency", text: "EURO is no ISO 4217 code", source_topic: "transactions", source_partition: 3, source_offset: 1881, first_seen: ago(4000), original: '{"transaction_id":"<b>tx-9</b>","currency":"EURO","amount_minor":1299}', replayed_at: null }, { id: "labels/0/12", reason: "label_mismatch", field: "card_id", text: "the payment was made with another card", source_topic: "labels", source_partition: 0, source_offset: 12, first_seen: ago(9000), original: '{"transaction_id":"tx-1"}', replayed_at: null }] })], // prettier-ignore
  ["POST", /^\/dead-letters\/replay$/, (_m, _q, body) => ({ chosen: body.ids.length, sent: body.ids.length })],
  ["GET", /^\/reconcile$/, () => ({ ingested: 812_331, scored: 812_200, degraded: 120, not_scored: 0, dead_lettered: 11, in_flight: 0, duplicated: 0, balanced: true })],
  ["GET", /^\/roles$/, () => [{ role: "analyst", may: ["label", "propose", "read"] }, { role: "approver", may: ["approve", "read", "reject", "rollback"] }, { role: "operator", may: MAY.operator }, { role: "service", may: ["label", "read", "retrain", "score"] }]],
  ["GET", /^\/people$/, () => [{ name: "anna", role: "operator", active: true, added_at: ago(999_999), added_by: "setup", revoked_at: null, revoked_by: null, key: "5b1f", password: true, tenants: [] }, { name: "ben", role: "approver", active: true, added_at: ago(99_999), added_by: "anna", revoked_at: null, revoked_by: null, key: "77c0", password: false, tenants: ["shop-b"] }]],
  ["POST", /^\/people$/, (_m, _q, body) => ({ ...body, link: `http://127.0.0.1:${PORT}/welcome#made-up-token` })],
  ["POST", /^\/people\/([^/]+)\/link$/, () => ({ link: `http://127.0.0.1:${PORT}/welcome#made-up-token`, expires_at: ago(-3600) })],
  ["GET", /^\/keys$/, () => [{ id: "0a1b2c3d4e5f", name: "checkout", role: "service", tenant: "default", per_second: null, state: "active", created_at: ago(99_999), created_by: "anna", expires_at: null, last_use: ago(40), revoked_at: null, revoked_by: null }]],
  ["POST", /^\/keys$/, (_m, _q, body) => ({ ...body, key: "tg_0a1b2c3d4e5f_made-up-secret" })],
  ["DELETE", /^\/(people|keys)\/([^/]+)$/, () => null],
  ["GET", /^\/audit$/, () => [{ entry: 1, at: ago(99_000), action: "approve", result: "accepted", model: "fraud", version: "1.4.0", by: "ben", signed_by: "ben", role: "approver", why: "better on October", detail: {} }, { entry: 2, at: ago(7200), action: "rollout", result: "accepted", model: "fraud", version: "1.5.0", by: "anna", signed_by: "anna", role: "operator", why: "monthly", detail: {} }]], // prettier-ignore
  ["POST", /^\/audit\/verify$/, () => ({ entries: 2, ok: true, first_bad: null, faults: [] })],
];

const ADDS = new Set(["/people", "/keys", "/cases"]);

function open_session(name) {
  const role = Object.keys(MAY).find((one) => name.endsWith(one)) ?? "operator";
  session = { person: name, role, permissions: MAY[role], tenants: [], can_sign: true, expires_at: ago(-43_200), home: "/srv/.tollgate", version: "0.2.0", console: { behind_s: 0.2, behind_records: 150, problem: null }, glass_until: null, review_within_s: 14_400 };
  return session;
}

function answer(method, path, query, body) {
  if (path === "/setup") return { people_with_password: 1, provider: null, passwords: true };
  if (path === "/welcome/look") return body.token === "used" ? problem(404, "unknown", "This link was used or is too old. Ask for a new one.") : { person: "anna", role: "operator", expires_at: ago(-3600) };
  if (path === "/welcome") return open_session("anna");
  if (path === "/session" && method === "POST") return body.password === "wrong password" ? problem(401, "wrong_credentials", "Name or password is wrong.") : open_session(body.name);
  if (path === "/session" && method === "DELETE") return (session = null);
  if (session === null) return problem(401, "signed_out", "Sign in first.");
  if (path === "/session/break-glass") return Object.assign(session, { glass_until: ago(-60 * body.minutes), permissions: [...new Set([...session.permissions, "operate", "label"])] });
  if (path === "/session") return session;
  for (const [verb, pattern, act] of ROUTES) {
    const found = verb === method && pattern.exec(path);
    if (found) return act(found.slice(1).map(decodeURIComponent), query, body);
  }
  return problem(404, "unknown", `There is no ${method} ${path}.`);
}

const TYPES = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2" };

function page(path, response) {
  const file = join(DIST, normalize(path));
  if (path !== "/" && file.startsWith(DIST) && existsSync(file) && extname(file)) {
    response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
    return;
  }
  const nonce = Math.random().toString(36).slice(2);
  response.writeHead(200, { "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": `default-src 'self'; style-src 'self' 'nonce-${nonce}'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'` });
  response.end(readFileSync(join(DIST, "index.html"), "utf8").replaceAll("__CSP_NONCE__", nonce));
}

function events(request, response) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  let told = -1;
  const timer = setInterval(() => {
    response.write(`event: second\ndata: ${JSON.stringify(second(Math.floor(Date.now() / 1000)))}\n\n`);
    if (open() !== told) response.write(`event: queue\ndata: ${JSON.stringify({ open: (told = open()), mark: rows.length })}\n\n`);
  }, 1000);
  request.on("close", () => clearInterval(timer));
}

createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (!url.pathname.startsWith("/api/v1/")) {
    if (DIST) page(url.pathname, response);
    else response.writeHead(404).end();
    return;
  }
  const path = url.pathname.slice("/api/v1".length);
  if (path === "/events") {
    events(request, response);
    return;
  }
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const text = Buffer.concat(chunks).toString();
    const cookie = /dev=(\w+)/.exec(request.headers.cookie ?? "")?.[1] ?? Math.random().toString(36).slice(2);
    session = sessions.get(cookie) ?? null;
    const said = answer(request.method, path, url.searchParams, text ? JSON.parse(text) : {});
    sessions.set(cookie, session);
    const failed = said !== null && typeof said === "object" && "body" in said && "status" in said;
    const status = failed ? said.status : said === null ? 204 : request.method === "POST" && ADDS.has(path) ? 201 : 200;
    response.writeHead(status, { "Content-Type": failed ? "application/problem+json" : "application/json", "Set-Cookie": `dev=${cookie}; HttpOnly; SameSite=Strict; Path=/` });
    response.end(said === null ? undefined : JSON.stringify(failed ? said.body : said));
  });
}).listen(PORT, "127.0.0.1", function listening() {
  console.log(`http://127.0.0.1:${this.address().port}`);
});
