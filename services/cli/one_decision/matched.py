"""The rules and lists that matched a decided payment, with the values that they looked at."""

from __future__ import annotations

from typing import Any

from features.attributes import attribute_named
from models.policy.policy import Policy
from models.policy.problems import PolicyError
from models.policy.rules.language import parse
from models.policy.rules.literals import names_in
from streams.audit.decided_payment import DecidedPayment


def matched(found: DecidedPayment, policy: Policy) -> list[dict[str, Any]]:
    """What stands in the decision's ``rules``, in its order; names that the policy does not have are left with their name alone."""
    rules = {rule.name: rule for rule in policy.rules}
    lists = {each.name: each for each in policy.lists}
    out = []
    for name in found.decision.get("rules", ()):
        if name in rules:
            rule = rules[name]
            values = {each: value_of(found, each) for each in _read_by(name, rule.when)}
            more: dict[str, Any] = {
                "kind": rule.action,
                "when": rule.when,
                "owner": rule.owner,
                "reason": rule.reason,
            }
        elif name in lists:
            each = lists[name]
            values = {each.field: value_of(found, each.field)}
            more = {"kind": each.kind, "owner": each.owner, "reason": each.reason}
        else:
            values, more = {}, {}
        out.append({"name": name, **more, "values": values})
    return out


def value_of(found: DecidedPayment, name: str) -> Any:
    """A field or feature as a rule names it; None if it is unknown."""
    if name == "score":
        return found.decision.get("score")
    if found.served is None:
        return found.decision.get(name)
    fields, features = found.served.transaction, found.served.features
    own = attribute_named(name)
    if own is not None:
        return (fields.get("attributes") or {}).get(own)
    return fields[name] if name in fields else features.get(name.removeprefix("features."))


def _read_by(name: str, when: str) -> list[str]:
    try:
        return names_in(parse(name, when))
    except PolicyError:
        # a condition of a later version of the language
        return []
