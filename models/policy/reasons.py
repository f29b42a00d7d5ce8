"""Why a policy decided as it did: the lists and rules that matched, those that decided first. Only for rows that one of them matched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from models.decision import Reason
from models.policy.lists import ActiveList
from models.policy.rules.rule import Rule, code_of
from models.policy.thresholds import REVIEW

#: the value of one field of a payment
ValueOf = Callable[[str], str | None]


class PolicyReasons:
    """Keeps no state between rows; safe to share between threads."""

    def __init__(self, rules: Iterable[Rule], lists: Iterable[ActiveList]) -> None:
        self._rules = {rule.name: (code_of(rule), _rule_reason(rule)) for rule in rules}
        self._lists = {found.name: found for found in lists}

    def of(self, matched: Sequence[str], code: int, value_of: ValueOf, now_ms: float) -> list[Reason]:
        """Reasons of one row, given the names that matched and its decision: what decided, then what agrees less strictly.

        An allow list that decided leaves nothing else to say. Rules that only observe, and what was overruled, are no reasons.
        """
        lists = [self._lists[name] for name in matched if name in self._lists]
        for kind in ("block", "allow"):
            deciding = [found for found in lists if found.kind == kind]
            if deciding:
                break
        first = [_list_reason(found, value_of, now_ms) for found in deciding]
        if deciding and kind == "allow":
            return first
        others = [self._rules[name] for name in matched if name in self._rules]
        others += [
            (REVIEW, _list_reason(found, value_of, now_ms)) for found in lists if found.kind == "watch"
        ]
        # the strictest first; sorting keeps the policy's order among equals
        others.sort(key=lambda other: -other[0])
        return first + [reason for strictness, reason in others if 0 < strictness <= code]


def _rule_reason(rule: Rule) -> Reason:
    return Reason(_code("RULE", rule.name), f"rule {rule.name} ({rule.owner})" + _because(rule.reason))


def _list_reason(found: ActiveList, value_of: ValueOf, now_ms: float) -> Reason:
    value = value_of(found.field)
    entry = found.entry(value, now_ms) if value is not None else None
    owner = (entry.owner if entry else None) or found.source.owner
    reason = (entry.reason if entry else "") or found.source.reason
    return Reason(
        _code("LIST", found.name), f"on {found.kind} list {found.name} ({owner})" + _because(reason)
    )


def _code(kind: str, name: str) -> str:
    return f"{kind}_{name.upper().replace('-', '_')}"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
