"""Text as TOML writes it."""

from __future__ import annotations

import json


def quoted(text: str) -> str:
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def listed(texts: list[str]) -> str:
    """One string, or an array of them."""
    return quoted(texts[0]) if len(texts) == 1 else "[" + ", ".join(map(quoted, texts)) + "]"


def rule_text(columns: list[str], options: dict[str, str]) -> str:
    """A field's rule: only the column's name where that says all."""
    if not options and len(columns) == 1:
        return quoted(columns[0])
    parts = [f"column = {listed(columns)}"] if columns else []
    return "{ " + ", ".join([*parts, *(f"{name} = {value}" for name, value in options.items())]) + " }"
