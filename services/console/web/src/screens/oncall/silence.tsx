import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { post } from "../../api/client";
import { Field } from "../../parts/basic";
import { ReasonDialog } from "../../parts/dialog";
import { moment } from "../../parts/format";
import { say } from "../../parts/toasts";

const LENGTHS = [
  ["30", "30 min"],
  ["120", "2 h"],
  ["480", "8 h"],
  ["1440", "1 d"],
] as const;

export function Silence({ alert, close }: { alert: string; close: () => void }) {
  const queries = useQueryClient();
  const [minutes, setMinutes] = useState("30");
  const act = async (why: string) => {
    const made = await post<{ until: string }>("/silences", { alert, minutes: Number(minutes), why });
    say(`${alert} is silent until ${moment(new Date(made.until), new Date())}.`);
    await queries.invalidateQueries({ queryKey: ["pages"] });
  };
  return (
    <ReasonDialog title={`Silence ${alert}`} verb="Silence" why="Shown to whoever looks for the missing page." close={close} act={act}>
      <Field name="For">
        {(id) => (
          <select id={id} className="input" value={minutes} onChange={(event) => setMinutes(event.target.value)}>
            {LENGTHS.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        )}
      </Field>
    </ReasonDialog>
  );
}
