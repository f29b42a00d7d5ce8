"""A rule: a condition on fields and features that makes a decision stricter, with an owner and an optional expiry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from models.policy.lists import Moment, Name, Owner
from models.policy.problems import PolicyError
from models.policy.rules.compiler import Meaning
from models.policy.rules.shared_terms import Match

Action = Literal["review", "decline", "observe"]
MAX_RULES = 500


class Rule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Rows where ``when`` is true get at least ``action``; ``observe`` only adds the rule's name to the decision.

    A rule never loosens a decision; an allow list can. ``tenants`` empty: all tenants. ``when``: see ``models/RULES.md``.
    """

    name: Name
    when: str
    action: Action
    owner: Owner
    reason: str = ""
    expires: Moment | None = None
    tenants: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActiveRule:
    """A rule in executable form. ``code`` is the least decision for its rows; it applies before ``expires_ms``."""

    name: str
    code: int
    expires_ms: float
    match: Match


_CODES: dict[str, int] = {"observe": 0, "review": 1, "decline": 2}


def code_of(rule: Rule) -> int:
    """The least decision that a rule gives its rows; 0 if it only observes."""
    return _CODES[rule.action]


def check_number(rules: Sequence[Rule]) -> None:
    """Raises: PolicyError: there are too many rules."""
    if len(rules) > MAX_RULES:
        raise PolicyError(f"{len(rules)} rules are more than {MAX_RULES}: put values on lists")


def activate_rules(rules: Iterable[Rule]) -> list[ActiveRule]:
    """Rules in executable form; terms used by several rules are shared.

    Raises:
        PolicyError: too many rules, or one with an invalid condition.
    """
    rules = list(rules)
    check_number(rules)
    meaning = Meaning()
    out = []
    for rule in rules:
        expires_ms = rule.expires.timestamp() * 1000 if rule.expires is not None else float("inf")
        match = meaning.compile(rule.name, rule.when)
        if rule.tenants:
            match = _both(meaning.within("tenant", frozenset(rule.tenants)), match)
        out.append(ActiveRule(rule.name, code_of(rule), expires_ms, match))
    return out


def _both(first: Match, second: Match) -> Match:
    return lambda batch: first(batch) & second(batch)
