/** Runbooks: headings, paragraphs, lists, code and links of Markdown as elements. No HTML is ever made from text. */

import type { ReactNode } from "react";
import { Scroll } from "./table";

type Block = { kind: "heading"; text: string } | { kind: "text"; text: string } | { kind: "code"; text: string } | { kind: "list"; numbered: boolean; items: string[] } | { kind: "table"; rows: string[][] };

const ITEM = /^\s*(?:[-*]|(\d+)\.)\s+(.*)$/;

export function blocks(text: string): Block[] {
  const out: Block[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const last = out[out.length - 1];
    const item = ITEM.exec(line);
    if (line.startsWith("```")) {
      const code: string[] = [];
      for (at++; at < lines.length && !(lines[at] ?? "").startsWith("```"); at++) code.push(lines[at] ?? "");
      out.push({ kind: "code", text: code.join("\n") });
    } else if (/^#{1,6} /.test(line)) {
      out.push({ kind: "heading", text: line.replace(/^#+ /, "") });
    } else if (line.startsWith("|")) {
      const row = line.split("|").slice(1, -1).map((cell) => cell.trim());
      if (row.every((cell) => /^:?-+:?$/.test(cell))) continue;
      if (last?.kind === "table" && (lines[at - 1] ?? "").startsWith("|")) last.rows.push(row);
      else out.push({ kind: "table", rows: [row] });
    } else if (item) {
      const numbered = item[1] !== undefined;
      if (last?.kind === "list" && last.numbered === numbered) last.items.push(item[2] ?? "");
      else out.push({ kind: "list", numbered, items: [item[2] ?? ""] });
    } else if (line.trim() === "") {
      out.push({ kind: "text", text: "" });
    } else if (last?.kind === "text" && last.text) {
      last.text += ` ${line.trim()}`;
    } else if (last?.kind === "list" && /^\s+/.test(line)) {
      last.items[last.items.length - 1] += ` ${line.trim()}`;
    } else {
      out.push({ kind: "text", text: line.trim() });
    }
  }
  return out.filter((block) => block.kind !== "text" || block.text !== "");
}

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g;

function inline(text: string): ReactNode[] {
  const out: ReactNode[] = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    out.push(text.slice(from, found.index));
    const [all, code, strong, name, href] = found;
    if (code !== undefined) out.push(<code key={found.index}>{code}</code>);
    else if (strong !== undefined) out.push(<b key={found.index}>{strong}</b>);
    // links of runbooks lead to files of the repository, which the console does not serve
    else out.push(/^https?:\/\//.test(href ?? "") ? <a key={found.index} href={href} rel="noreferrer noopener" target="_blank">{name}</a> : <span key={found.index}>{name}</span>);
    from = found.index + all.length;
  }
  return [...out, text.slice(from)];
}

export function Markdown({ text }: { text: string }) {
  return (
    <article className="prose">
      {blocks(text).map((block, at) => {
        switch (block.kind) {
          case "heading":
            return (
              <h2 key={at} className={at === 0 ? "title" : ""}>
                {inline(block.text)}
              </h2>
            );
          case "code":
            return (
              <pre key={at} tabIndex={0}>
                {block.text}
              </pre>
            );
          case "list": {
            const items = block.items.map((item, index) => <li key={index}>{inline(item)}</li>);
            return block.numbered ? <ol key={at}>{items}</ol> : <ul key={at}>{items}</ul>;
          }
          case "table":
            return (
              <Scroll key={at}>
                <table>
                  <tbody>
                    {block.rows.map((row, index) => (
                      <tr key={index}>
                        {row.map((cell, column) => (
                          <td key={column}>{inline(cell)}</td>
                        ))}
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            );
          default:
            return <p key={at}>{inline(block.text)}</p>;
        }
      })}
    </article>
  );
}
