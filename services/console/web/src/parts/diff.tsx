/** Two texts by line: what was taken out and what was put in. */

export interface Line {
  kind: "same" | "out" | "in";
  text: string;
}

/** A shortest edit, by the longest common subsequence of lines. Texts of at most a few thousand lines. */
export function difference(before: string, after: string): Line[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i * width + j] = a[i] === b[j] ? (longest[(i + 1) * width + j + 1] ?? 0) + 1 : Math.max(longest[(i + 1) * width + j] ?? 0, longest[i * width + j + 1] ?? 0);
    }
  }
  const out: Line[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push({ kind: "same", text: a[i] ?? "" });
      i++;
      j++;
    } else if (i < a.length && (j === b.length || (longest[(i + 1) * width + j] ?? 0) >= (longest[i * width + j + 1] ?? 0))) {
      out.push({ kind: "out", text: a[i] ?? "" });
      i++;
    } else {
      out.push({ kind: "in", text: b[j] ?? "" });
      j++;
    }
  }
  return out;
}

const AROUND = 2;
const SIGNS = { same: " ", out: "−", in: "+" } as const;
const SAID = { same: "", out: "removed: ", in: "added: " } as const;

/** The changed lines with a little of what is around them. */
export function Diff({ before, after }: { before: string; after: string }) {
  const lines = difference(before, after);
  const near = lines.map((_, at) => lines.slice(Math.max(0, at - AROUND), at + AROUND + 1).some((line) => line.kind !== "same"));
  return (
    <pre className="code diff" tabIndex={0}>
      {lines.map((line, at) =>
        near[at] ? (
          <span key={at} className={line.kind}>
            <span aria-hidden="true">{SIGNS[line.kind]} </span>
            <span className="hidden-text">{SAID[line.kind]}</span>
            {`${line.text}\n`}
          </span>
        ) : near[at - 1] ? (
          <span key={at} className="quiet">{"…\n"}</span>
        ) : null,
      )}
    </pre>
  );
}
