import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useCallback, useEffect, useMemo, useState } from "react";
import { get, part, post, Problem, put, remove } from "../api/client";
import { useMay } from "../api/session";
import type { DecisionRow, DecisionWhole, FeatureInfo, Label, LabelName, Lock, Payment } from "../api/types";
import { Answer, Button, Empty, Field, Money, Panel, Scroll, Tag, Time, Verdict } from "../parts/basic";
import { money, number, percent, score, span, words } from "../parts/format";
import { say, sayError } from "../parts/toasts";
import { useShortcuts } from "../shell/keyboard";
import { decisionPath, go, Link, useParam } from "../shell/router";
import { Depth } from "./decision_depth";
import { HandOver } from "./hand_over";
import { LabelState } from "./label_state";

export function DecisionScreen({ id }: { id: string }) {
  const [tenant] = useParam("tenant", "default");
  const found = useQuery({ queryKey: ["decision", tenant, id], queryFn: ({ signal }) => get<DecisionWhole>(`/decisions/${part(id)}`, { tenant }, signal) });
  return (
    <main id="screen" className="screen">
      <div className="stack">
        <Answer of={found} what="the decision">
          {(whole) => <Whole whole={whole} id={id} tenant={tenant} />}
        </Answer>
      </div>
    </main>
  );
}

interface Of {
  whole: DecisionWhole;
  id: string;
  tenant: string;
}

function Whole({ whole, id, tenant }: Of) {
  const { decision, thresholds, matched } = whole;
  return (
    <>
      <Head whole={whole} id={id} tenant={tenant} />
      <div className="grid">
        <Panel className="span-7" title="Why" aside={<span className="quiet small">as given at {new Date(decision.decided_at).toLocaleString("en-GB")}</span>}>
          <Reasons whole={whole} />
          {thresholds && decision.score !== null && <Gauge score={decision.score} {...thresholds} />}
          {thresholds === null && <p className="quiet small">The thresholds of policy {decision.policy_version} are not kept any more.</p>}
        </Panel>
        <Panel className="span-5" title="Payment">
          <PaymentPairs whole={whole} />
        </Panel>
        <Panel className="span-12" title="Rules and lists that matched" bare={matched.length > 0}>
          {matched.length === 0 ? <p className="soft">None.</p> : <MatchedTable whole={whole} />}
        </Panel>
        <Timeline id={id} tenant={tenant} />
        <Notes whole={whole} id={id} tenant={tenant} />
        <Related id={id} tenant={tenant} />
        <Features whole={whole} />
        <Depth id={id} tenant={tenant} />
        <Panel className="span-12" title="Decided by">
          <dl className="pairs">
            <dt>Model</dt>
            <dd>
              {decision.model} <Link href={`/models/${decision.model_version}`}>{decision.model_version}</Link>, policy {decision.policy_version}, features{" "}
              <span className="mono">{decision.features_version}</span>
            </dd>
            <dt>Arm</dt>
            <dd>
              {decision.arm}
              {Object.entries(decision.shadow).map(([version, value]) => (
                <span key={version} className="soft">
                  {" "}
                  · {version} in shadow says {score(value)}
                </span>
              ))}
            </dd>
            <dt>Received</dt>
            <dd>
              <Time at={decision.received_at} />, decided {number(decision.latency_ms, 3)} ms later
            </dd>
            <dt>Found in</dt>
            <dd>
              {whole.found_in.decision}
              {whole.found_in.features ? `; features in ${whole.found_in.features}` : "; features are not kept any more"}
            </dd>
          </dl>
        </Panel>
      </div>
    </>
  );
}

function Head({ whole, id, tenant }: Of) {
  const queries = useQueryClient();
  const may = useMay("label");
  const [handing, setHanding] = useState(false);
  const { decision, row, label, lock } = whole;
  const again = useCallback(() => queries.invalidateQueries({ queryKey: ["decision", tenant, id] }), [queries, tenant, id]);
  const inQueue = row !== null && decision.decision === "review";
  const foreign = lock && !lock.mine ? `${lock.owner} holds it.` : null;
  const refused = !may.may ? may.why : !inQueue ? "Only payments in review are labelled here." : label ? "It is labelled already: undo it first." : foreign;
  const give = async (name: LabelName) => {
    if (refused) {
      say(refused, { bad: true });
      return;
    }
    try {
      const made = await post<Label>(`/queue/${part(id)}/label`, { tenant, label: name, note: null });
      await again();
      say(`${id}: ${name === "fraud" ? "fraud" : "genuine"}`, {
        untilMs: made.sends_at ? new Date(made.sends_at).getTime() : undefined,
        undo: async () => {
          await remove(`/queue/${part(id)}/label`, { tenant });
          await again();
        },
      });
    } catch (error) {
      sayError(error);
    }
  };
  const next = async () => {
    try {
      const found = await post<DecisionRow | null>("/queue/next");
      if (found) go(decisionPath(found.transaction_id, found.tenant));
      else say("Nothing is free: every review is labelled or held by a colleague.");
    } catch (error) {
      sayError(error);
    }
  };
  const hold = async () => {
    try {
      if (lock?.mine) await remove(`/queue/${part(id)}/lock`, { tenant });
      else await put<Lock>(`/queue/${part(id)}/lock`, { tenant });
    } catch (error) {
      sayError(error);
    }
    await again();
  };
  useShortcuts({
    fraud: () => void give("fraud"),
    legit: () => void give("legit"),
    next: () => void next(),
    escalate: () => inQueue && setHanding(true),
  });
  // a label's state changes when its ten seconds are over
  useEffect(() => {
    if (!label?.sends_at || label.state !== "waiting") return;
    const timer = setTimeout(() => void again(), Math.max(0, new Date(label.sends_at).getTime() - Date.now()) + 1_500);
    return () => clearTimeout(timer);
  }, [label, again]);
  return (
    <div className="stack tight">
      <div className="row wrap apart">
        <div className="row wrap">
          <h2 className="title break">{id}</h2>
          <Verdict name={decision.decision} />
          {decision.status !== "scored" && <Tag tone="warn">{words(decision.status)}</Tag>}
          {tenant !== "default" && <Tag>tenant {tenant}</Tag>}
          {label && <LabelState label={label} />}
          {lock && <Tag tone={lock.mine ? "accent" : "warn"}>{lock.mine ? "held by you" : `held by ${lock.owner}`}</Tag>}
        </div>
        <div className="row wrap">
          {inQueue && (
            <>
              <Button look="plain" refused={may.may ? (foreign ?? (label ? "It is labelled." : null)) : may.why} onClick={() => void hold()}>
                {lock?.mine ? "Release" : "Hold"}
              </Button>
              <Button look="plain" shortcut="escalate" refused={may.may ? foreign : may.why} onClick={() => setHanding(true)}>
                Hand over
              </Button>
              <Button look="danger" shortcut="fraud" refused={refused} onClick={() => void give("fraud")}>
                Fraud
              </Button>
              <Button shortcut="legit" refused={refused} onClick={() => void give("legit")}>
                Genuine
              </Button>
            </>
          )}
          <Button shortcut="next" refused={may.may ? null : may.why} onClick={() => void next()}>
            Next review
          </Button>
        </div>
      </div>
      {decision.degraded_by && decision.degraded_by.length > 0 && (
        <p className="message warn">Decided without: {decision.degraded_by.map(words).join(", ")}.</p>
      )}
      {row && <HandOver row={row} open={handing} close={() => setHanding(false)} done={() => void again()} />}
    </div>
  );
}

function Reasons({ whole }: { whole: DecisionWhole }) {
  const { reasons } = whole.decision;
  const largest = Math.max(0.1, ...reasons.map((reason) => Math.abs(reason.contribution ?? 0)));
  if (reasons.length === 0) return <p className="soft">Nothing stood out.</p>;
  return (
    <ul className="reasons">
      {reasons.map((reason, at) => {
        const push = reason.contribution;
        return (
          <li key={reason.code + String(at)}>
            <span>
              {reason.text} <span className="quiet small mono break">{reason.code}</span>
            </span>
            {push === undefined || push === null ? (
              <span className="quiet small span-2">decides by itself</span>
            ) : (
              <>
                <span className="lever" aria-hidden="true">
                  <span className={push < 0 ? "down" : ""} style={{ width: `${(50 * Math.abs(push)) / largest}%`, left: push < 0 ? undefined : "50%", right: push < 0 ? "50%" : undefined }} />
                </span>
                <span className="right" title="log-odds that this adds to the score">
                  {push > 0 ? "+" : "−"}
                  {Math.abs(push).toFixed(2)}
                </span>
              </>
            )}
          </li>
        );
      })}
    </ul>
  );
}

/** Where a score stands between 0 and 1: by its log-odds, because thresholds lie close to 0 and to 1. */
function logOdds(score: number): number {
  const within = Math.min(0.999, Math.max(0.001, score));
  return Math.log(within / (1 - within)) / Math.log(999) / 2 + 0.5;
}

/** The score beside the thresholds that it was compared with. */
function Gauge({ score: at, review, decline }: { score: number; review: number; decline: number }) {
  const x = (value: number) => 4 + 592 * logOdds(value);
  const distance = at >= decline ? `${(at - decline).toFixed(4)} above decline` : at >= review ? `${(decline - at).toFixed(4)} below decline` : `${(review - at).toFixed(4)} below review`;
  return (
    <figure className="gauge-figure">
      <svg className="gauge" viewBox="0 0 600 44" preserveAspectRatio="none" role="img" aria-label={`Score ${score(at)}; review from ${review.toFixed(4)}, decline from ${decline.toFixed(4)}`}>
        <rect x={x(0)} y="18" width={x(review) - x(0)} height="8" fill="var(--approve-fill)" opacity="0.35" />
        <rect x={x(review)} y="18" width={Math.max(0, x(decline) - x(review))} height="8" fill="var(--review-fill)" opacity="0.45" />
        <rect x={x(decline)} y="18" width={Math.max(0, x(1) - x(decline))} height="8" fill="var(--decline-fill)" opacity="0.45" />
        <rect x={x(at) - 1.5} y="10" width="3" height="24" fill="var(--ink)" />
      </svg>
      <figcaption className="row wrap apart small soft">
        <span>
          score <span className="strong">{score(at)}</span>, {distance}
        </span>
        <span>
          review from {review.toFixed(4)} · decline from {decline.toFixed(4)} <span className="quiet">(drawn by log-odds)</span>
        </span>
      </figcaption>
    </figure>
  );
}

const TEXTS: [string, string][] = [
  ["card_id", "Card"],
  ["customer_id", "Customer"],
  ["merchant_id", "Merchant"],
  ["device_id", "Device"],
  ["ip", "Address"],
];

function PaymentPairs({ whole }: { whole: DecisionWhole }) {
  const { decision, transaction, row } = whole;
  const value = (name: string): string | null => {
    const found = transaction?.[name] ?? row?.[name as keyof DecisionRow];
    return found === null || found === undefined ? null : String(found);
  };
  const amount = value("amount_minor");
  const rest = Object.entries(transaction ?? {}).filter(([name, found]) => !SHOWN.has(name) && found !== null);
  return (
    <dl className="pairs">
      <dt>Amount</dt>
      <dd className="strong">
        <Money minor={amount === null ? null : Number(amount)} currency={value("currency")} />
      </dd>
      <dt>Time</dt>
      <dd>
        <Time at={decision.event_time} />
      </dd>
      {TEXTS.map(([name, text]) => {
        const found = value(name);
        if (found === null) return null;
        return (
          <Pair key={name} name={text}>
            <Link href={`/decisions?${name.replace("_id", "")}=${part(found)}`}>{found}</Link>
          </Pair>
        );
      })}
      <Pair name="Channel">{[value("channel"), value("country"), value("mcc") && `MCC ${value("mcc")}`].filter(Boolean).join(", ") || "–"}</Pair>
      {rest.map(([name, found]) => (
        <Pair key={name} name={words(name)}>
          {typeof found === "object" ? JSON.stringify(found) : String(found)}
        </Pair>
      ))}
    </dl>
  );
}

const SHOWN = new Set(["transaction_id", "tenant", "event_time", "amount_minor", "currency", "channel", "country", "mcc", ...TEXTS.map(([name]) => name)]);

function Pair({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function MatchedTable({ whole }: { whole: DecisionWhole }) {
  return (
    <Scroll>
      <table>
        <thead>
          <tr>
            <th>Name</th>
            <th>Action</th>
            <th>Condition</th>
            <th>Values then</th>
            <th>Owner and reason</th>
          </tr>
        </thead>
        <tbody>
          {whole.matched.map((one) => (
            <tr key={one.name}>
              <th>
                <Link href={`/rules?name=${part(one.name)}`}>{one.name}</Link>
              </th>
              <td>{one.kind ?? <span className="quiet">not in this policy</span>}</td>
              <td className="mono break">{one.when ?? "–"}</td>
              <td className="mono break">
                {Object.entries(one.values)
                  .map(([name, value]) => `${name} = ${value === null ? "unknown" : typeof value === "number" ? number(value, 7) : value}`)
                  .join(", ") || "–"}
              </td>
              <td className="soft">{[one.owner, one.reason].filter(Boolean).join(": ") || "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Timeline({ id, tenant }: Omit<Of, "whole">) {
  const found = useQuery({
    queryKey: ["timeline", tenant, id, 100],
    queryFn: ({ signal }) => get<{ rows: Payment[]; from: string }>(`/decisions/${part(id)}/timeline`, { tenant, limit: 100 }, signal),
    staleTime: 60_000,
  });
  return (
    <Panel className="span-7" title="The card's payments" aside={<span className="quiet small">{found.data ? `${found.data.rows.length} around this one, newest first` : ""}</span>} bare>
      <Answer of={found} what="the card's payments">
        {(data) =>
          data.rows.length === 0 ? (
            <Empty title="No other payment is kept" />
          ) : (
            <>
              <Dots rows={data.rows} />
              <Scroll tall>
                <table>
                  <thead>
                    <tr>
                      <th>Time</th>
                      <th>Decision</th>
                      <th className="number">Amount</th>
                      <th className="number">Score</th>
                      <th>Merchant</th>
                      <th>Label</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.rows.map((row) => (
                      <tr key={row.transaction_id} aria-selected={row.this} className="link">
                        <td>
                          {row.this ? (
                            <Time at={row.event_time} />
                          ) : (
                            <Link href={decisionPath(row.transaction_id, tenant)}>
                              <Time at={row.event_time} />
                            </Link>
                          )}
                        </td>
                        <td>
                          <Verdict name={row.decision} />
                        </td>
                        <td className="number">
                          <Money minor={row.amount_minor} currency={row.currency} />
                        </td>
                        <td className="number">{row.score === null ? "–" : score(row.score)}</td>
                        <td className="break">{row.merchant_id ?? "–"}</td>
                        <td>{row.label === null ? "" : row.label === "fraud" ? <Tag tone="bad">fraud</Tag> : <Tag tone="good">genuine</Tag>}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            </>
          )
        }
      </Answer>
    </Panel>
  );
}

/** Amount over time, one mark a payment: shape and colour by decision. */
function Dots({ rows }: { rows: Payment[] }) {
  const known = rows.filter((row) => row.amount_minor !== null);
  if (known.length < 3) return null;
  const times = known.map((row) => new Date(row.event_time).getTime());
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const most = Math.max(...known.map((row) => row.amount_minor ?? 0), 1);
  const x = (time: number) => 8 + (584 * (time - first)) / Math.max(1, last - first);
  const y = (minor: number) => 60 - (50 * minor) / most;
  return (
    <figure className="dots">
      <svg viewBox="0 0 600 72" role="img" aria-label={`Amounts of ${known.length} payments over ${span((last - first) / 1000)}`}>
        <line x1="0" x2="600" y1="60.5" y2="60.5" stroke="var(--line-strong)" />
        {known.map((row, at) => {
          const [cx, cy] = [x(times[at] ?? 0), y(row.amount_minor ?? 0)];
          const size = row.this ? 5 : 3.5;
          const fill = `var(--${row.decision}-fill)`;
          return row.decision === "approve" ? (
            <circle key={row.transaction_id} cx={cx} cy={cy} r={size} fill="none" stroke={row.this ? "var(--ink)" : fill} strokeWidth="1.5" />
          ) : row.decision === "review" ? (
            <path key={row.transaction_id} d={`M${cx} ${cy - size - 1}l${size + 1} ${size + 1}-${size + 1} ${size + 1}-${size + 1}-${size + 1}Z`} fill={fill} stroke={row.this ? "var(--ink)" : "none"} />
          ) : (
            <rect key={row.transaction_id} x={cx - size} y={cy - size} width={2 * size} height={2 * size} fill={fill} stroke={row.this ? "var(--ink)" : "none"} />
          );
        })}
      </svg>
      <figcaption className="row apart quiet small">
        <span>{new Date(first).toLocaleString("en-GB")}</span>
        <span>
          amount, up to <Money minor={most} currency={known[0]?.currency ?? null} />
        </span>
        <span>{new Date(last).toLocaleString("en-GB")}</span>
      </figcaption>
    </figure>
  );
}

function Notes({ whole, id, tenant }: Of) {
  const may = useMay("label");
  const queries = useQueryClient();
  const [text, setText] = useState("");
  const [said, setSaid] = useState("");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!text.trim()) return;
    try {
      await post(`/decisions/${part(id)}/notes`, { tenant, text: text.trim() });
      setText("");
      setSaid("");
      await queries.invalidateQueries({ queryKey: ["decision", tenant, id] });
    } catch (error) {
      setSaid(error instanceof Problem ? error.message : String(error));
    }
  };
  return (
    <Panel className="span-5" title="Label and notes">
      <div className="stack">
        {whole.label ? (
          <p>
            <LabelState label={whole.label} /> <span className="soft">by {whole.label.by ?? whole.label.source},</span> <Time at={whole.label.at} />
          </p>
        ) : (
          <p className="soft">No label is known yet.</p>
        )}
        {whole.notes.length > 0 && (
          <ul className="stack tight">
            {whole.notes.map((note) => (
              <li key={note.id} className="message">
                <p className="small quiet">
                  {note.by}, <Time at={note.at} />
                </p>
                <p className="break">{note.text}</p>
              </li>
            ))}
          </ul>
        )}
        <form className="stack tight" onSubmit={(event) => void submit(event)}>
          <Field name="Note" wrong={said}>
            {(field) => <textarea id={field} className="input" rows={2} maxLength={2000} disabled={!may.may} value={text} onChange={(event) => setText(event.target.value)} />}
          </Field>
          <div className="row">
            <Button type="submit" refused={may.may ? (text.trim() ? null : "Write something first.") : may.why}>
              Add note
            </Button>
          </div>
        </form>
      </div>
    </Panel>
  );
}

interface Group {
  entity: string;
  id: string;
  count: number;
  rows: DecisionRow[];
}

function Related({ id, tenant }: { id: string; tenant: string }) {
  const found = useQuery({ queryKey: ["related", tenant, id], queryFn: ({ signal }) => get<{ groups: Group[] }>(`/decisions/${part(id)}/related`, { tenant }, signal), staleTime: 60_000 });
  return (
    <Panel className="span-12" title="Related payments" aside={<span className="quiet small">not approved ones that share an entity</span>} bare>
      <Answer of={found} what="related payments">
        {(data) => {
          const groups = data.groups.filter((group) => group.rows.length > 0);
          if (groups.length === 0) return <div className="body soft">None.</div>;
          return (
            <Scroll>
              <table>
                <thead>
                  <tr>
                    <th>Shares</th>
                    <th>Payment</th>
                    <th>Time</th>
                    <th>Decision</th>
                    <th className="number">Amount</th>
                    <th className="number">Score</th>
                    <th>Label</th>
                  </tr>
                </thead>
                <tbody>
                  {groups.flatMap((group) =>
                    group.rows.slice(0, 5).map((row, at) => (
                      <tr key={group.entity + row.tenant + row.transaction_id}>
                        <th className="break">
                          {at === 0 && (
                            <>
                              <span className="soft">{group.entity}</span> <Link href={`/decisions?${group.entity}=${part(group.id)}`}>{group.id}</Link> <span className="quiet">({group.count})</span>
                            </>
                          )}
                        </th>
                        <td className="break">
                          <Link href={decisionPath(row.transaction_id, row.tenant)}>{row.transaction_id}</Link>
                        </td>
                        <td>
                          <Time at={row.event_time} />
                        </td>
                        <td>
                          <Verdict name={row.decision} />
                        </td>
                        <td className="number">
                          <Money minor={row.amount_minor} currency={row.currency} />
                        </td>
                        <td className="number">{row.score === null ? "–" : score(row.score)}</td>
                        <td>{row.label && <LabelState label={row.label} />}</td>
                      </tr>
                    )),
                  )}
                </tbody>
              </table>
            </Scroll>
          );
        }}
      </Answer>
    </Panel>
  );
}

/** A feature's unit; of minor units also the money that they are. What was paid before may have been in other currencies. */
function unit(feature: FeatureInfo | undefined, value: number | null, currency: unknown): string {
  if (feature?.unit !== "minor units" || value === null || typeof currency !== "string") return feature?.unit ?? "";
  return `minor units: ${money(value, currency)}${feature.entity === "transaction" ? "" : ` if all was ${currency}`}`;
}

function Features({ whole }: { whole: DecisionWhole }) {
  const [text, setText] = useState("");
  const info = useQuery({ queryKey: ["features"], queryFn: ({ signal }) => get<FeatureInfo[]>("/features", {}, signal), staleTime: Number.POSITIVE_INFINITY });
  const values = whole.features;
  const currency = whole.transaction?.currency;
  const rows = useMemo(() => {
    if (values === null) return [];
    const known = new Map(info.data?.map((feature) => [feature.name, feature]));
    const wanted = text.toLowerCase();
    return Object.entries(values)
      .map(([name, value]) => ({ name, value, feature: known.get(name) }))
      .filter(({ name, feature }) => !wanted || `${name} ${feature?.description ?? ""} ${feature?.entity ?? ""}`.toLowerCase().includes(wanted));
  }, [values, info.data, text]);
  if (values === null) {
    return (
      <Panel className="span-12" title="Features">
        <p className="soft">Neither the log nor the archive holds them.</p>
      </Panel>
    );
  }
  const unknown = Object.values(values).filter((value) => value === null).length;
  const all = Object.keys(values).length;
  return (
    <Panel
      className="span-12"
      title="Features as served"
      aside={
        <div className="row">
          <span className="quiet small">
            {all} values, {percent(unknown / Math.max(1, all), 0)} unknown
          </span>
          <input className="input" aria-label="Search features" placeholder="Search features" value={text} onChange={(event) => setText(event.target.value)} />
        </div>
      }
      bare
    >
      <Scroll tall>
        <table>
          <thead>
            <tr>
              <th>Feature</th>
              <th>Of</th>
              <th className="number">Value</th>
              <th>Unit</th>
              <th>What it is</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ name, value, feature }) => (
              <tr key={name}>
                <th className="mono break">{name}</th>
                <td className="soft">{feature?.entity ?? ""}</td>
                <td className="number">{value === null ? <span className="quiet">unknown</span> : number(value, 7)}</td>
                <td className="soft nowrap">{unit(feature, value, currency)}</td>
                <td className="soft">{feature?.description ?? ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {rows.length === 0 && <Empty title="No feature fits" />}
      </Scroll>
    </Panel>
  );
}
