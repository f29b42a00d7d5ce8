// Cases, links and lists of the stand-in: in memory, in the shapes of the API.

import { rules } from "./data.mjs";

const COLUMNS = { card: "card_id", device: "device_id", ip: "ip", merchant: "merchant_id", customer: "customer_id" };
const now = () => new Date().toISOString();

/** Routes over these payments; `asker` gives who asks, `label` labels a payment. */
export function caseRoutes(rows, asker, problem, label) {
  const cases = [];
  const of = (number) => cases.find((one) => one.case === Number(number));
  const paymentsOf = (one) => rows.filter((row) => one.entities.some(({ kind, id }) => row[COLUMNS[kind]] === id));
  const note = (one, action, text, detail = {}) => {
    one.changed_at = now();
    one.events.push({ at: now(), by: asker().person, action, text, detail });
    return null;
  };
  const holder = (entity) => cases.find((one) => one.state !== "closed" && one.entities.some(({ kind, id }) => kind === entity.kind && id === entity.id));
  const begin = ({ entities, title, why, tenant = "default" }) => {
    const has = entities.map(holder).find(Boolean);
    if (has) return problem(409, "already_open", `case ${has.case} has ${entities[0].kind} ${entities[0].id} already; it is with ${has.assignee}`, { case: has.case });
    const one = { case: cases.length + 1, tenant, title: title || `${entities[0].kind} ${entities[0].id}`, state: "open", assignee: asker().person, outcome: null, opened_by: asker().person, opened_at: now(), changed_at: now(), entities, events: [] };
    cases.push(one);
    note(one, "opened", why, { entities: entities.map(({ kind, id }) => [kind, id]) });
    return { case: one.case };
  };
  const whole = (one) => ({ ...one, counted: paymentsOf(one).length, rows: paymentsOf(one).slice(0, 200) });
  const head = ({ events: _events, ...one }) => one;
  const change = (act) => ([number], query, body) => {
    const one = of(number);
    if (!one) return problem(404, "unknown", `there is no case ${number}`);
    return act(one, body, query);
  };
  return [
    ["GET", /^\/cases$/, (_m, query) => ({ rows: cases.filter((one) => (query.get("closed") === "true" || one.state !== "closed") && (query.get("mine") !== "true" || one.assignee === asker().person) && (!query.get("id") || one.entities.some(({ kind, id }) => kind === query.get("kind") && id === query.get("id")))).map(head) })],
    ["POST", /^\/cases$/, (_m, _q, body) => begin(body)],
    ["GET", /^\/cases\/(\d+)$/, change(whole)],
    ["GET", /^\/cases\/(\d+)\/export$/, change((one) => ({ ...whole(one), exported_by: asker().person, exported_at: now() }))],
    ["POST", /^\/cases\/(\d+)\/notes$/, change((one, { text }) => note(one, "note", text))],
    ["POST", /^\/cases\/(\d+)\/(?:assign|escalate)$/, change((one, { to, why }) => { one.assignee = to; return note(one, "assigned", why, { to }); })], // prettier-ignore
    ["POST", /^\/cases\/(\d+)\/entities$/, change((one, { entity, why }) => { one.entities.push(entity); return note(one, "added", why, { entities: [[entity.kind, entity.id]] }); })], // prettier-ignore
    ["POST", /^\/cases\/(\d+)\/close$/, change((one, { outcome, why }) => { Object.assign(one, { state: "closed", outcome }); return note(one, "closed", why, { outcome }); })], // prettier-ignore
    ["POST", /^\/cases\/(\d+)\/reopen$/, change((one, { why }) => { Object.assign(one, { state: "open", outcome: null, assignee: asker().person }); return note(one, "reopened", why); })], // prettier-ignore
    ["POST", /^\/cases\/(\d+)\/label$/, change((one, body) => { const made = paymentsOf(one).filter((row) => body.transaction_ids.includes(row.transaction_id)).map((row) => label(row, body.label)); note(one, "labelled", body.why, { label: body.label, payments: made.length }); return { accepted: body.transaction_ids, refused: [], sends_at: made[0]?.sends_at ?? null }; })], // prettier-ignore
    ["GET", /^\/links$/, (_m, query) => links(rows, query.get("kind"), query.get("id"))],
    ["GET", /^\/lists\/([^/]+)$/, ([name]) => (name === "stolen-devices" ? list(name) : problem(404, "unknown", `there is no list ${name} in policy 12`))],
    ["POST", /^\/lists\/([^/]+)\/preview$/, (_m, _q, body) => preview(body)],
    ["POST", /^\/lists\/([^/]+)\/propose$/, ([name], _q, body) => { if (body.case) note(of(body.case), "proposed", body.why, { list: name, mode: body.mode, entries: body.csv.split("\n").slice(1).filter(Boolean), version: "1.4.1" }); return { version: "1.4.1", policy_version: "13" }; }], // prettier-ignore
  ];
}

function links(rows, kind, id) {
  const total = (node) => {
    const found = rows.filter((row) => row[COLUMNS[node.kind]] === node.id);
    const times = found.map((row) => row.decided_at).sort();
    return { payments: found.length, declined: 0, fraud: found.filter((row) => row.label?.label === "fraud").length + (node.kind === "device" && found.length > 8 ? 2 : 0), genuine: 0, first: times[0] ?? null, last: times.at(-1) ?? null };
  };
  const nodes = [{ kind, id, step: 0 }];
  const has = (node) => nodes.some((one) => one.kind === node.kind && one.id === node.id);
  for (const step of [1, 2])
    for (const from of nodes.filter((node) => node.step === step - 1))
      for (const row of rows.filter((one) => one[COLUMNS[from.kind]] === from.id))
        for (const other of from.kind === "card" ? ["device", "ip", "merchant"] : ["card"]) {
          const node = { kind: other, id: row[COLUMNS[other]], step };
          if (node.id && !has(node) && nodes.length < 60) nodes.push(node);
        }
  const found = new Map();
  for (const row of rows)
    for (const other of ["device", "ip", "merchant"]) {
      const key = `${row.card_id} ${other} ${row[COLUMNS[other]]}`;
      if (!row[COLUMNS[other]] || !has({ kind: "card", id: row.card_id }) || !has({ kind: other, id: row[COLUMNS[other]] })) continue;
      const link = found.get(key) ?? { kind: other, card: row.card_id, id: row[COLUMNS[other]], payments: 0, fraud: 0, rarity: 0, first: row.decided_at, last: row.decided_at };
      link.payments += 1;
      link.rarity = Math.round((1e4 * link.payments) / (total({ kind: "card", id: link.card }).payments + total(link).payments - link.payments)) / 1e4;
      link.first = row.decided_at < link.first ? row.decided_at : link.first;
      link.last = row.decided_at > link.last ? row.decided_at : link.last;
      found.set(key, link);
    }
  return { kind, id, tenant: "default", nodes: nodes.map((node) => ({ ...node, ...total(node) })), links: [...found.values()], left_out: 12, not_followed: [{ kind: "merchant", id: "m-everybody" }] };
}

const soon = (days) => new Date(Date.now() + days * 86_400_000).toISOString();
const entry = (value, days, reason) => ({ value, expires: soon(days), owner: "anna", reason, expired: days < 0 });
const ENTRIES = Array.from({ length: 214 }, (_, at) => entry(`d-${900 + at}`, at - 3, at % 3 ? "case 118" : "three chargebacks"));
const list = (name) => ({ ...rules.lists[0], name, hits: undefined, entries: undefined, expired: undefined, next_expiry: undefined, expires: soon(90), policy_version: "12", counted: ENTRIES.length, rows: ENTRIES });

function preview({ csv, mode }) {
  const [first, ...lines] = csv.split("\n");
  const values = lines.filter(Boolean).map((line) => line.split(",")[0]);
  const errors = [];
  if (first.split(",")[0] !== "value") errors.push(`list stolen-devices: the CSV must begin with the names of its columns, value and optionally expires, owner, reason; its first line has '${first}'`);
  if (values.length === 0 && errors.length === 0) errors.push("list stolen-devices: the CSV has no entries");
  lines.forEach((line, at) => line.includes("tomorrow") && errors.push(`list stolen-devices: the CSV, line ${at + 2}: Invalid RFC3339 encoded datetime in \`expires\`: write a time with its zone, such as 2027-01-31T00:00:00Z`));
  const known = new Set(ENTRIES.map((one) => one.value));
  const fate = (value) => (mode === "remove" ? "removed" : known.has(value) ? "changed" : "new");
  const rows = errors.length > 0 ? [] : values.map((value) => ({ fate: fate(value), ...entry(value, 90, "case 119") }));
  const count = (name) => rows.filter((row) => row.fate === name).length;
  return { good: errors.length === 0, errors, warnings: [], counts: { new: count("new"), changed: count("changed"), removed: count("removed"), same: ENTRIES.length - count("changed") - count("removed") }, rows, policy_version: "12" };
}
