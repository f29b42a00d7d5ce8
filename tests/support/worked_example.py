"""The worked example of ``features/ADDING.md``, applied to a copy of the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def apply(page: str, root: Path) -> int:
    """Apply the page's lines: each hunk's own lines, found by what stands around them. Returns how many hunks there were."""
    block = re.search(r"```diff\n(.*?)```", page, re.S)
    assert block
    hunks = 0
    for part in re.split(r"^--- .*\n", block.group(1), flags=re.M)[1:]:
        name, *pieces = re.split(r"^@@\n", part, flags=re.M)
        path = root / name.removeprefix("+++ b/").strip()
        text = path.read_text()
        for piece in pieces:
            lines = piece.splitlines()
            before = "\n".join(line[1:] for line in lines if line[:1] != "+")
            after = "\n".join(line[1:] for line in lines)
            assert text.count(before) == 1, f"the page's example does not fit {path.name} any more:\n{before}"
            text = text.replace(before, after)
            hunks += 1
        path.write_text(text)
    return hunks
