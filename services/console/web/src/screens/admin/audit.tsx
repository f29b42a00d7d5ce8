import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get, post } from "../../api/client";
import { Button, Empty, Panel, Tag, Time } from "../../parts/basic";
import { Facts } from "../../parts/facts";
import { whole, words } from "../../parts/format";
import { Listed } from "../../parts/table";
import { attempt } from "../../parts/toasts";

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
  const verify = () => {
    setBusy(true);
    attempt(() => post<Verified>("/audit/verify").then(setVerified).finally(() => setBusy(false)));
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
          <div className="row wrap">
            <span className="quiet small">the newest 100, newest first</span>
            <Button refused={busy ? "It is being verified." : null} onClick={verify}>
              {busy ? "Verifying …" : "Verify the chain"}
            </Button>
          </div>
        }
        bare
      >
        <Listed
          of={audit}
          what="the audit"
          rows={(found) => [...found].reverse()}
          empty={<Empty title="The audit is empty" />}
          keyOf={(entry) => entry.entry}
          columns={[
            { name: "No.", look: "number", cell: (entry) => entry.entry },
            { name: "When", cell: (entry) => <Time at={entry.at} /> },
            {
              name: "Who",
              look: "break",
              heads: true,
              cell: ({ signed_by, by, role }) => (
                <>
                  {signed_by || by} <span className="quiet">{role}</span>
                  {signed_by && by !== signed_by && <span className="quiet"> for {by}</span>}
                </>
              ),
            },
            {
              name: "What",
              cell: (entry) => (
                <>
                  {words(entry.action)} {entry.result === "refused" && <Tag tone="bad">refused</Tag>}
                </>
              ),
            },
            { name: "Of", look: "break", cell: (entry) => [entry.model, entry.version].filter(Boolean).join(" ") || nameOf(entry.detail) },
            { name: "Why", look: "soft break", cell: (entry) => entry.why },
          ]}
        />
      </Panel>
    </>
  );
}
