import { useQueryClient } from "@tanstack/react-query";
import { part, post } from "../../api/client";
import { useMay } from "../../api/session";
import { Panel, Time } from "../../parts/basic";
import { NoteForm } from "../../parts/note_form";
import { LabelState } from "../review/label_state";
import type { Of } from "./decision";

export function Notes({ whole, id, tenant }: Of) {
  const may = useMay("label");
  const queries = useQueryClient();
  const add = async (text: string) => {
    await post(`/decisions/${part(id)}/notes`, { tenant, text });
    await queries.invalidateQueries({ queryKey: ["decision", tenant, id] });
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
        <NoteForm refused={may.may ? null : may.why} add={add} />
      </div>
    </Panel>
  );
}
