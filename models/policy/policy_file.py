"""The analyst's file: rules, lists, and optionally thresholds and expected loss, in TOML or JSON.

It replaces all rules and lists: those it leaves out are removed. Thresholds and expected loss that it does not set stay as they
are live, and so do the rules that training creates.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec

from models.policy.csv_entries import csv_entries
from models.policy.lists import Entry, Kind, ListField, Moment, Name, Owner, PolicyList
from models.policy.policy import TRAINER, Policy
from models.policy.problems import PolicyError, bounded
from models.policy.reading import read_struct, read_table
from models.policy.rules.checking import rule_errors
from models.policy.rules.rule import Rule
from models.policy.thresholds import ExpectedLoss, Threshold

#: returns the text of a file that the policy file names
ReadBeside = Callable[[str], str]
#: who sets the thresholds that a file states
ANALYST = "analyst"
#: parts of a dotted name in TOML; those of a policy have two
MAX_NAME_PARTS = 32
_STRING_OR_COMMENT = re.compile(
    r'''"""(?:\\.|[^\\])*?"""|\'{3}.*?\'{3}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*''', re.DOTALL
)
_NAME_PART = re.compile(r"[ \t]*[\w-]+[ \t]*")


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
    entries: list[Any] = []
    file: str | None = None
    reason: str = ""
    expires: Moment | None = None
    tenants: tuple[str, ...] = ()


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a file; None where it leaves the live setting."""

    rules: tuple[Rule, ...] = ()
    lists: tuple[PolicyList, ...] = ()
    thresholds: Thresholds | None = None
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
            # a file that states the live thresholds, as an exported one does, sets none
            if (given.review, given.decline) != (live.review, live.decline):
                changes["thresholds_owner"] = ANALYST
            changes |= {"without_score": given.without_score, "thresholds": live.thresholds_behind(given.by)}
        if self.expected_loss is not None:
            changes["expected_loss"] = self.expected_loss
        return msgspec.structs.replace(live, **changes)


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file's tables; their content is read one by one."""

    rules: Any = []
    lists: Any = []
    thresholds: Any = None
    expected_loss: Any = None


class _WrittenThresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    review: float
    decline: float
    without_score: Literal["review", "decline"] = "review"
    by: list[Any] = []


class ReadFile(NamedTuple):
    """What could be read of a file, and all errors in the rest."""

    file: PolicyFile
    errors: list[str]


def read_policy_file(text: str, *, is_json: bool, beside: ReadBeside) -> ReadFile:
    """Parse a file. What it says is not checked here, but by ``problems``.

    Raises:
        PolicyError: it does not parse at all.
    """
    raw = _parsed(text, is_json)
    errors: list[str] = []
    written = read_struct(raw, _Written, "the file", errors)
    if written is None:
        # the known parts of the file are still read
        written = _Written(**{name: raw[name] for name in _Written.__struct_fields__ if name in raw})
    rules = [
        _read_rule(rule, _place("rule", number, rule), errors)
        for number, rule in enumerate(read_table(written.rules, "rules", errors), 1)
    ]
    lists = [
        _read_list(each, _place("list", number, each), beside, errors)
        for number, each in enumerate(read_table(written.lists, "lists", errors), 1)
    ]
    loss = written.expected_loss
    file = PolicyFile(
        tuple(rule for rule in rules if rule is not None), tuple(each for each in lists if each is not None),
        None if written.thresholds is None else _read_thresholds(written.thresholds, errors),
        None if loss is None else read_struct(loss, ExpectedLoss, "expected_loss", errors),
    )  # fmt: skip
    return ReadFile(file, errors)


def _parsed(text: str, is_json: bool) -> Any:
    kind = "JSON" if is_json else "TOML"
    if not is_json and _names_without_end(text):
        raise PolicyError(f"the file is not a policy: a dotted name has more than {MAX_NAME_PARTS} parts")
    try:
        raw = (
            json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_number)
            if is_json
            else tomllib.loads(text)
        )
        # JSON can hold half of a character, which nothing can store
        json.dumps(raw, ensure_ascii=False, default=str).encode()
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise PolicyError(f"the file is not valid {kind}: {error}") from error
    except RecursionError:
        raise PolicyError(f"the file is not valid {kind}: it is nested too deeply") from None
    except UnicodeEncodeError:
        raise PolicyError(
            "the file is not valid JSON: a text holds half of a character (a lone surrogate)"
        ) from None
    except ValueError as error:
        raise PolicyError(f"the file is not valid {kind}: {error}") from error
    if not isinstance(raw, dict):
        raise PolicyError(
            "the file is not a policy: write an object with rules, lists, thresholds or expected_loss"
        )
    return raw


def _names_without_end(text: str) -> bool:
    """Whether a dotted name has more than ``MAX_NAME_PARTS`` parts. Python's parser takes time by their square: 64 kB of them 16 s."""
    run = 0
    for piece in _STRING_OR_COMMENT.sub("q", text).split("."):
        run = run + 1 if _NAME_PART.fullmatch(piece) else 1
        if run > MAX_NAME_PARTS:
            return True
    return False


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the field {name} is given twice")
            seen.add(name)
    return out


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a number")


def _place(kind: str, number: int, raw: Any) -> str:
    name = raw.get("name") if isinstance(raw, dict) else None
    return f"{kind} {name}" if isinstance(name, str) and name else f"{kind} number {number}"


def _read_rule(raw: Any, place: str, errors: list[str]) -> Rule | None:
    """The rule; of one that cannot be read, the errors of its condition are added too."""
    rule = read_struct(raw, Rule, place, errors)
    when = raw.get("when") if isinstance(raw, dict) else None
    if rule is None and isinstance(when, str):
        errors += rule_errors(Rule(place.removeprefix("rule "), when, "review", "unread"))
    return rule


def _read_list(raw: Any, place: str, beside: ReadBeside, errors: list[str]) -> PolicyList | None:
    written = read_struct(raw, _FileList, place, errors)
    if written is None:
        return None
    found: list[str] = []
    read = [
        Entry(entry) if isinstance(entry, str) and entry else
        read_struct({"value": entry} if isinstance(entry, str) else entry, Entry, f"{place}, entry {number}", found)
        for number, entry in enumerate(written.entries, 1)
    ]  # fmt: skip
    entries = [entry for entry in read if entry is not None]
    if written.file is not None:
        try:
            entries += csv_entries(place, written.file, beside(written.file), found)
        except PolicyError as error:
            found.append(f"{place}: {error}")
    errors += bounded(place, found)
    return PolicyList(
        name=written.name, kind=written.kind, field=written.field, owner=written.owner, reason=written.reason,
        expires=written.expires, tenants=written.tenants, entries=tuple(entries),
    )  # fmt: skip


def _read_thresholds(raw: Any, errors: list[str]) -> Thresholds | None:
    written = read_struct(raw, _WrittenThresholds, "thresholds", errors)
    if written is None:
        return None
    by = [read_struct(each, Threshold, f"thresholds.by number {n}", errors) for n, each in enumerate(written.by, 1)]  # fmt: skip
    known = tuple(each for each in by if each is not None)
    return Thresholds(written.review, written.decline, written.without_score, known)
