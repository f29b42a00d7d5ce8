import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get, post } from "../../api/client";
import { Answer, Button, Empty, Panel, Scroll, Tag, Time } from "../../parts/basic";
import { Facts } from "../../parts/facts";
import { whole, words } from "../../parts/format";
import { sayError } from "../../parts/toasts";

interface Entry {
  entry: number;
  at: string;
  action: string;
  result: "accepted" | "refused";
  model: string;
  version: string | null;
  by: string;
  signed_by: string;
  role: string;
  why: string;
  detail: Record<string, unknown>;
}

const nameOf = (detail: Record<string, unknown>): string => (typeof detail.name === "string" ? detail.name : "");

interface Verified {
  entries: number;
  ok: boolean;
  first_bad: number | null;
  faults?: { entry: number; why: string }[];
}

export function Audit() {
  const audit = useQuery({ queryKey: ["audit"], queryFn: ({ signal }) => get<Entry[]>("/audit", { last: 100 }, signal) });
  const [verified, setVerified] = useState<Verified | null>(null);
  const [busy, setBusy] = useState(false);
  const verify = async () => {
    setBusy(true);
    try {
      setVerified(await post<Verified>("/audit/verify"));
    } catch (error) {
      sayError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      {verified && (
        <div className={`message ${verified.ok ? "good" : "bad"}`} role="status">
          {verified.ok ? `The chain of ${whole(verified.entries)} entries is whole.` : `The chain is broken at entry ${verified.first_bad ?? "?"}.`}
          {verified.faults && verified.faults.length > 0 && <Facts value={verified.faults} />}
        </div>
      )}
      <Panel
        title="Audit"
        aside={
          <Button refused={busy ? "It is being verified." : null} onClick={() => void verify()}>
            {busy ? "Verifying …" : "Verify the chain"}
          </Button>
        }
        bare
      >
        <Answer of={audit} what="the audit">
          {(rows) =>
            rows.length === 0 ? (
              <Empty title="The audit is empty" />
            ) : (
              <Scroll>
                <table>
                  <thead>
                    <tr>
                      <th className="number">No.</th>
                      <th>When</th>
                      <th>Who</th>
                      <th>What</th>
                      <th>Of</th>
                      <th>Why</th>
                    </tr>
                  </thead>
                  <tbody>
                    {[...rows].reverse().map((entry) => (
                      <tr key={entry.entry}>
                        <td className="number">{entry.entry}</td>
                        <td>
                          <Time at={entry.at} />
                        </td>
                        <th className="break">
                          {entry.signed_by || entry.by} <span className="quiet">{entry.role}</span>
                          {entry.signed_by && entry.by !== entry.signed_by && <span className="quiet"> for {entry.by}</span>}
                        </th>
                        <td>
                          {words(entry.action)} {entry.result === "refused" && <Tag tone="bad">refused</Tag>}
                        </td>
                        <td className="break">{[entry.model, entry.version].filter(Boolean).join(" ") || nameOf(entry.detail)}</td>
                        <td className="soft break">{entry.why}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )
          }
        </Answer>
      </Panel>
    </>
  );
}
