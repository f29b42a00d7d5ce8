"""A live policy written back as the file that gives the same policy when it is published."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import msgspec

from models.policy.policy import TRAINER, Policy

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def exported(policy: Policy) -> dict[str, Any]:
    """The file's content: as JSON has it, but with datetimes. Rules and thresholds that training made for tenants are
    not in it: publishing keeps them."""
    people = [rule for rule in policy.rules if rule.owner != TRAINER]
    out: dict[str, Any] = {"rules": _plain(people), "lists": _plain(policy.lists)}
    for found in out["lists"]:
        found["entries"] = [entry["value"] if len(entry) == 1 else entry for entry in found["entries"]]
    out["thresholds"] = {
        "review": policy.review, "decline": policy.decline, "without_score": policy.without_score,
        "by": _plain(policy.thresholds_of_people),
    }  # fmt: skip
    if policy.expected_loss is not None:
        out["expected_loss"] = _plain(policy.expected_loss)
    return out


def as_toml(policy: Policy, heading: str) -> str:
    """``exported`` as TOML; ``heading`` becomes a comment at its top."""
    content = exported(policy)
    kept = [rule.name for rule in policy.rules if rule.owner == TRAINER]
    lines = [f"# {heading}"]
    if kept:
        lines.append(f"# training made {', '.join(kept)}: publishing this file keeps them")
    for rule in content["rules"]:
        lines += ["", "[[rules]]", *_fields(rule)]
    for found in content["lists"]:
        entries = found.pop("entries")
        lines += ["", "[[lists]]", *_fields(found), "entries = ["]
        lines += [f"    {_value(entry)}," for entry in entries] + ["]"]
    by = content["thresholds"].pop("by")
    lines += ["", "[thresholds]", *_fields(content["thresholds"])]
    for threshold in by:
        lines += ["[[thresholds.by]]", *_fields(threshold)]
    if "expected_loss" in content:
        lines += ["", "[expected_loss]", *_fields(content["expected_loss"])]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=(datetime,))


def _fields(table: dict[str, Any]) -> list[str]:
    return [f"{_key(name)} = {_value(value)}" for name, value in table.items()]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_value(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but TOML also wants one for the character DEL
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
