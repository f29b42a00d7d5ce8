"""A change of one list of the live policy: read from CSV, shown before it is proposed, written as a policy file. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from models.policy.csv_entries import csv_entries
from models.policy.lists import Entry, PolicyList
from models.policy.policy import Policy
from models.policy.problems import PolicyError, bounded
from models.policy.reading import read_struct

Mode = Literal["add", "replace", "remove"]
#: how the CSV is called in errors
CSV = "the CSV"
#: entries shown of a change
SHOWN = 200


class ListChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one list. Absent fields of a list that there is already stay; a new list needs kind, field and owner.
    ``expires``: of a new list for all its entries, else for the given ones that have none of their own.

    ``add`` also renews: an entry whose value is on the list replaces it. ``remove`` takes the values off.
    """

    name: str
    mode: Mode
    csv: str
    kind: str | None = None
    field: str | None = None
    owner: str | None = None
    reason: str | None = None
    expires: datetime | None = None
    tenants: tuple[str, ...] | None = None


class Changed(msgspec.Struct, frozen=True):
    """The policy with the change, the entries by what happens to them, and everything that is wrong with it."""

    policy: Policy
    entries: list[tuple[str, Entry]]
    errors: list[str]


def changed(live: Policy, change: ListChange) -> Changed:
    """Apply a change. With ``errors`` the policy is the live one."""
    place, errors = f"list {change.name}", list[str]()
    if any(rule.name == change.name for rule in live.rules):
        errors.append(f"a rule is called {change.name}: choose another name for the list")
    before = next((found for found in live.lists if found.name == change.name), None)
    given = csv_entries(place, CSV, change.csv, errors)
    if not given and not errors and change.mode != "replace":
        errors.append(f"{place}: {CSV} has no entries")
    after = _with(before, change, given, errors)
    if after is None or errors:
        return Changed(live, [], bounded(place, errors))
    lists = tuple(after if found.name == after.name else found for found in live.lists)
    try:
        made = msgspec.structs.replace(live, lists=lists if before else (*lists, after))
    except PolicyError as error:
        return Changed(live, [], [str(error)])
    return Changed(made, _fates(before, after), [])


def _with(
    before: PolicyList | None, change: ListChange, given: Sequence[Entry], errors: list[str]
) -> PolicyList | None:
    """The list after the change; None after adding what is wrong."""
    named: dict[str, Any] = {"kind": change.kind, "field": change.field, "owner": change.owner, "reason": change.reason, "tenants": change.tenants}  # fmt: skip
    if before is None:
        named["expires"] = change.expires
    elif change.expires is not None:
        given = [msgspec.structs.replace(entry, expires=entry.expires or change.expires) for entry in given]
    raw: dict[str, Any] = {} if before is None else msgspec.to_builtins(before, builtin_types=(datetime,))
    raw |= {name: value for name, value in named.items() if value not in (None, "")}
    if before is not None and raw["field"] != before.field:
        errors.append(f"list {change.name} holds {before.field}: make another list for {raw['field']}")
    raw |= {"name": change.name, "entries": []}
    read = read_struct(raw, PolicyList, f"list {change.name}", errors)
    if read is None:
        return None
    kept = (
        {} if before is None or change.mode == "replace" else {entry.value: entry for entry in before.entries}
    )
    values = [entry.value for entry in given]
    errors += [
        f"list {change.name}: {value} occurs twice in {CSV}: keep one line"
        for value, count in Counter(values).items()
        if count > 1
    ]
    if change.mode == "remove":
        errors += [f"list {change.name}: {value} is not on it" for value in values if value not in kept]
        kept = {value: entry for value, entry in kept.items() if value not in set(values)}
    else:
        kept |= {entry.value: entry for entry in given}
    return msgspec.structs.replace(read, entries=tuple(kept.values()))


def _fates(before: PolicyList | None, after: PolicyList) -> list[tuple[str, Entry]]:
    """Each entry before or after with what happens to it: "new", "changed", "removed" or "same"; what stays comes last."""
    old = {entry.value: entry for entry in before.entries} if before else {}
    new = {entry.value: entry for entry in after.entries}
    out = [
        ("new" if value not in old else "changed" if _whole(after, entry) != _whole(before, old[value]) else "same", entry)
        for value, entry in new.items()
    ]  # fmt: skip
    out += [("removed", entry) for value, entry in old.items() if value not in new]
    return sorted(out, key=lambda each: each[0] == "same")


def _whole(found: PolicyList | None, entry: Entry) -> tuple[Any, ...]:
    """An entry with what it takes from its list."""
    assert found is not None
    return (
        entry.expires or found.expires,
        entry.owner or found.owner,
        entry.reason or found.reason,
        found.kind,
    )


def entry_row(found: PolicyList, entry: Entry, now: datetime) -> dict[str, Any]:
    """An entry as the API gives it, with what it takes from its list."""
    expires, owner, reason, _ = _whole(found, entry)
    return {
        "value": entry.value, "expires": expires.isoformat() if expires else None, "owner": owner, "reason": reason,
        "expired": expires is not None and expires <= now,
    }  # fmt: skip
