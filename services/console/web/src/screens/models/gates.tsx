/** What the gates found of a version: each check with its interval, and fairness by group. */

import { Tag } from "../../parts/basic";
import { Facts } from "../../parts/facts";
import { number, percent, whole, words } from "../../parts/format";
import { type Column, Table } from "../../parts/table";

export type Result = "pass" | "fail" | "inconclusive" | "too_few";

export interface GateCheck {
  name: string;
  result: Result;
  n: number;
  estimate: number | null;
  low: number | null;
  high: number | null;
  limit: number | null;
  why: string;
}

interface GroupRate {
  dimension: string;
  group: string;
  rate: string;
  result: Result;
  n: number;
  share: number;
  others_share: number;
  ratio: number;
  low: number;
  high: number;
  live_ratio: number;
}

export interface Gates {
  verdict?: string;
  checks?: GateCheck[];
  groups?: GroupRate[];
  hidden_groups?: number;
  [more: string]: unknown;
}

const RESULTS: Record<Result, { tone: "" | "good" | "bad"; text: string }> = {
  pass: { tone: "good", text: "pass" },
  fail: { tone: "bad", text: "fail" },
  inconclusive: { tone: "", text: "not decided" },
  too_few: { tone: "", text: "too few" },
};

export function ResultTag({ of }: { of: Result }) {
  return <Tag tone={RESULTS[of]?.tone ?? ""}>{RESULTS[of]?.text ?? of}</Tag>;
}

const shown = (value: number | null | undefined) => (value === null || value === undefined ? "–" : number(value, 4));
export const interval = ({ low, high }: { low: number | null; high: number | null }): string => (low === null || high === null || low === undefined || high === undefined ? "–" : `${number(low, 3)} to ${number(high, 3)}`);

const CHECKS: Column<GateCheck>[] = [
  { name: "Gate", look: "break", heads: true, cell: ({ name }) => words(name) },
  { name: "Result", cell: ({ result }) => <ResultTag of={result} /> },
  { name: "Rows", look: "number", cell: ({ n }) => whole(n) },
  { name: "Estimate", look: "number", cell: ({ estimate }) => shown(estimate) },
  { name: "Interval", look: "number", cell: interval },
  { name: "Limit", look: "number", cell: ({ limit }) => shown(limit) },
  { name: "In words", look: "soft break", cell: ({ why }) => why },
];

const GROUPS: Column<GroupRate>[] = [
  { name: "Group", look: "break", heads: true, cell: ({ dimension, group }) => `${words(dimension)} ${group}` },
  { name: "Rate", cell: ({ rate }) => words(rate) },
  { name: "Result", cell: ({ result }) => <ResultTag of={result} /> },
  { name: "Rows", look: "number", cell: ({ n }) => whole(n) },
  { name: "Its share", look: "number", cell: ({ share }) => percent(share, 2) },
  { name: "Others", look: "number", cell: ({ others_share }) => percent(others_share, 2) },
  { name: "Ratio", look: "number", cell: ({ ratio }) => shown(ratio) },
  { name: "Interval", look: "number", cell: interval },
  { name: "Ratio now", look: "number soft", cell: ({ live_ratio }) => shown(live_ratio) },
];

export function GatesOf({ gates }: { gates: Gates }) {
  const { checks = [], groups = [], hidden_groups = 0, curves: _drawn, ...rest } = gates;
  return (
    <div className="stack tight">
      {checks.length > 0 && <Table rows={checks} keyOf={({ name }) => name} columns={CHECKS} />}
      {groups.length > 0 && (
        <>
          <h3>Fairness</h3>
          <Table rows={groups} keyOf={(row) => `${row.dimension} ${row.group} ${row.rate}`} columns={GROUPS} tall />
        </>
      )}
      {hidden_groups > 0 && <p className="quiet small">{whole(hidden_groups)} rates of groups are too small to be shown: they could point at single customers.</p>}
      <Facts value={rest} />
    </div>
  );
}
