import { useQuery } from "@tanstack/react-query";
import { type KeyboardEvent, type RefObject, useId, useState } from "react";
import { flushSync } from "react-dom";
import { get } from "../../api/client";

interface Vocabulary {
  fields: string[];
  features: string[];
  functions: string[];
}

const SHOWN = 8;
const WORD = /[A-Za-z_][A-Za-z0-9_]*$/;

/** What may complete the word before the caret, if the line is a condition. */
export function completions(text: string, caret: number, names: readonly string[]): { word: string; found: string[] } {
  const line = text.slice(text.lastIndexOf("\n", caret - 1) + 1, caret);
  const word = WORD.exec(line)?.[0] ?? "";
  if (word.length < 2 || !/^\s*when\s*=/.test(line)) return { word, found: [] };
  const starts = names.filter((name) => name.startsWith(word) && name !== word);
  const holds = names.filter((name) => !name.startsWith(word) && name.includes(word));
  return { word, found: [...starts, ...holds].slice(0, SHOWN) };
}

/** The line that an error is about: the one that it counts, or where the rule or list that it names is named. */
export function placeOf(text: string, error: string): { line: number; from: number; to: number } | null {
  const lines = text.split("\n");
  const counted = /\bline (\d+)/.exec(error)?.[1];
  const named = /^(?:rule|list) ([\w.-]+)/.exec(error)?.[1];
  const at = counted !== undefined ? Number(counted) - 1 : named === undefined ? -1 : lines.findIndex((line) => line.replace(/\s/g, "").startsWith(`name="${named}"`));
  const found = lines[at];
  if (found === undefined) return null;
  const from = lines.slice(0, at).reduce((sum, line) => sum + line.length + 1, 0);
  return { line: at + 1, from, to: from + found.length };
}

/** A policy as text. While a condition is written, Tab takes the first name that completes the word; Escape puts them away. */
export function PolicyText({ text, change, place }: { text: string; change: (text: string) => void; place: RefObject<HTMLTextAreaElement | null> }) {
  const list = useId();
  const [caret, setCaret] = useState<number | null>(null);
  const vocabulary = useQuery({ queryKey: ["vocabulary"], queryFn: ({ signal }) => get<Vocabulary>("/rules/vocabulary", {}, signal), staleTime: Number.POSITIVE_INFINITY });
  const names = vocabulary.data ? [...vocabulary.data.fields, ...vocabulary.data.features, ...vocabulary.data.functions] : [];
  const { word, found } = caret === null ? { word: "", found: [] } : completions(text, caret, names);
  const take = (name: string) => {
    if (caret === null) return;
    const from = caret - word.length;
    // at once: what is typed before the next frame would stand at the old caret
    flushSync(() => {
      change(text.slice(0, from) + name + text.slice(caret));
      setCaret(null);
    });
    place.current?.focus();
    place.current?.setSelectionRange(from + name.length, from + name.length);
  };
  const press = (event: KeyboardEvent) => {
    const first = found[0];
    if (event.key === "Escape" && found.length > 0) setCaret(null);
    else if (event.key === "Tab" && !event.shiftKey && first !== undefined) take(first);
    else return;
    event.preventDefault();
  };
  return (
    <>
      <textarea
        ref={place}
        className="input code grow-text"
        aria-label="Policy as TOML"
        aria-describedby={`policy-check ${list}`}
        spellCheck={false}
        rows={28}
        value={text}
        onKeyDown={press}
        onChange={(event) => {
          change(event.target.value);
          setCaret(event.target.selectionStart);
        }}
      />
      <div id={list} className="completions" role="status">
        {found.length > 0 && (
          <>
            <kbd>Tab</kbd>
            {found.map((name) => (
              <button key={name} type="button" className="button plain mono" tabIndex={-1} onClick={() => take(name)}>
                {name}
              </button>
            ))}
          </>
        )}
      </div>
      <details className="vocabulary">
        <summary>Words of a condition</summary>
        {vocabulary.data && (
          <div className="small">
            {(["fields", "features", "functions"] as const).map((kind) => (
              <p key={kind} className="break">
                <span className="soft">{kind}: </span>
                <span className="mono">{vocabulary.data[kind].join(" ")}</span>
              </p>
            ))}
          </div>
        )}
      </details>
    </>
  );
}
