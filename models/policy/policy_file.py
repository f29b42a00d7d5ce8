"""The analyst's file: rules, lists, and optionally thresholds and expected loss, in TOML or JSON.

It replaces all rules and lists: those it leaves out are removed. Thresholds and expected loss that it does not set stay as they
are live, and so do the rules that training creates.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from models.policy.lists import Entry, Kind, ListField, Moment, Name, Owner, PolicyList, activate
from models.policy.policy import TRAINER, Policy
from models.policy.problems import PolicyError
from models.policy.rules.rule import Rule, activate_rules
from models.policy.thresholds import ExpectedLoss, ScoreDecision, Threshold

#: returns the text of a file that the policy file names
ReadBeside = Callable[[str], str]
#: returns the first card number in a text, or None
FindCardNumber = Callable[[str], str | None]
_PLACE = re.compile(r"\$\.(rules|lists)\[(\d+)\]")
_COLUMNS = {"value", "expires", "owner", "reason"}


class _Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    review: float
    decline: float
    without_score: Literal["review", "decline"] = "review"
    by: tuple[Threshold, ...] = ()


class _FileList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A list as written: entries may be plain values, or be in a CSV file beside the policy file."""

    name: Name
    kind: Kind
    field: ListField
    owner: Owner
    entries: tuple[str | Entry, ...] = ()
    file: str | None = None
    reason: str = ""
    expires: Moment | None = None
    tenants: tuple[str, ...] = ()


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a file; None where it leaves the live setting."""

    rules: tuple[Rule, ...] = ()
    lists: tuple[PolicyList, ...] = ()
    thresholds: _Thresholds | None = None
    expected_loss: ExpectedLoss | None = None

    def applied_to(self, live: Policy, version: str) -> Policy:
        """The live policy with this file's parts replaced.

        Raises:
            PolicyError: two parts share a name, or thresholds are out of order.
        """
        named = {rule.name for rule in self.rules} | {found.name for found in self.lists}
        kept = tuple(rule for rule in live.rules if rule.owner == TRAINER and rule.name not in named)
        changes: dict[str, Any] = {"version": version, "rules": kept + self.rules, "lists": self.lists}
        if self.thresholds is not None:
            given = self.thresholds
            changes |= {"review": given.review, "decline": given.decline}
            changes |= {"without_score": given.without_score, "thresholds": given.by}
        if self.expected_loss is not None:
            changes["expected_loss"] = self.expected_loss
        return msgspec.structs.replace(live, **changes)


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[Rule, ...] = ()
    lists: tuple[_FileList, ...] = ()
    thresholds: _Thresholds | None = None
    expected_loss: ExpectedLoss | None = None


def read_policy_file(text: str, *, is_json: bool, beside: ReadBeside) -> PolicyFile:
    """Parse a file. Conditions are not checked here, but by ``problems``.

    Raises:
        PolicyError: it does not parse or has unknown fields; the text names the rule or list.
    """
    try:
        raw = json.loads(text) if is_json else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise PolicyError(f"the file is not valid {'JSON' if is_json else 'TOML'}: {error}") from error
    try:
        found = msgspec.convert(raw, _Written)
    except msgspec.ValidationError as error:
        raise PolicyError(_named(str(error), raw)) from error
    lists = tuple(_whole(written, beside) for written in found.lists)
    return PolicyFile(found.rules, lists, found.thresholds, found.expected_loss)


def problems(file: PolicyFile, find_card_number: FindCardNumber) -> list[str]:
    """All errors in a file, one per line; empty if it is valid."""
    out = [
        f"{place} holds a card number: use the token that transactions carry instead"
        for place, text in _texts(file) if find_card_number(text)
    ]  # fmt: skip
    # the messages of other errors could quote the card number
    if out:
        return out
    for make in _parts(file):
        try:
            make()
        except PolicyError as error:
            out.append(str(error))
    # checks of single parts and of the whole may report the same error
    return list(dict.fromkeys(out))


def _parts(file: PolicyFile) -> Iterator[Callable[[], object]]:
    for rule in file.rules:
        yield lambda rule=rule: activate_rules([rule])  # type: ignore[misc]
    for found in file.lists:
        yield lambda found=found: activate([found])  # type: ignore[misc]
    if file.thresholds is not None:
        given = file.thresholds
        yield lambda: ScoreDecision(given.review, given.decline, given.by, None)
    # limits on the number of rules and entries, and names that occur twice
    blank = Policy(version="0", review=0.5, decline=0.5)
    yield lambda: file.applied_to(blank, "0")
    if len(file.rules) > 1 or len(file.lists) > 1:
        yield lambda: activate(file.lists)


def _texts(file: PolicyFile) -> Iterator[tuple[str, str]]:
    for rule in file.rules:
        yield f"rule {rule.name}", f"{rule.name}   {rule.when}   {rule.reason}   {rule.owner}"
    for found in file.lists:
        yield f"list {found.name}", f"{found.name}   {found.reason}   {found.owner}"
        for number, entry in enumerate(found.entries, 1):
            yield (
                f"list {found.name}, entry {number}",
                f"{entry.value}   {entry.reason}   {entry.owner or ''}",
            )


def _whole(written: _FileList, beside: ReadBeside) -> PolicyList:
    entries = [entry if isinstance(entry, Entry) else Entry(entry) for entry in written.entries]
    if written.file is not None:
        entries += _csv_entries(written.name, written.file, beside(written.file))
    return PolicyList(
        name=written.name, kind=written.kind, field=written.field, owner=written.owner, reason=written.reason,
        expires=written.expires, tenants=written.tenants, entries=tuple(entries),
    )  # fmt: skip


def _csv_entries(name: str, file: str, text: str) -> list[Entry]:
    rows = csv.DictReader(io.StringIO(text))
    columns = set(rows.fieldnames or ())
    if "value" not in columns or columns - _COLUMNS:
        raise PolicyError(
            f"list {name}: {file} must have the column value, and may have expires, owner, reason"
        )
    out = []
    for number, row in enumerate(rows, 2):
        given = {key: value for key, value in row.items() if value}
        try:
            out.append(msgspec.convert(given, Entry))
        except msgspec.ValidationError as error:
            raise PolicyError(f"list {name}: {file}, line {number}: {error}") from error
    return out


def _named(error: str, raw: Any) -> str:
    """The parser's message with the name of the rule or list it is about."""
    found = _PLACE.search(error)
    if not found:
        return f"the file is invalid: {error}"
    try:
        name = raw[found[1]][int(found[2])].get("name", "without a name")
    except (KeyError, IndexError, AttributeError):
        name = "without a name"
    return f"{found[1].rstrip('s')} {name}: {error}"
