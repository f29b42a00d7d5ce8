"""What people set in a policy outlives the model: which parts of a live policy another one lacks, and how they go with a new model.

People's are all rules but the trainer's, lists, thresholds by tenant and channel, expected loss, what happens without a score, and the
two thresholds where a person set them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models.policy.policy import TRAINER, Policy


def lost_parts(live: Policy, candidate: Policy) -> list[str]:
    """The parts that people set in ``live`` and that ``candidate`` lacks or has otherwise, in words; empty if it has all of them."""
    return list(_lost(live, candidate))


def replaces(lineage: Mapping[str, Any], live: Policy) -> bool:
    """Whether a bundle's policy was made by a person from this very live policy: then what it leaves out is left out on purpose.

    Args:
        lineage: the bundle's.
    """
    account = lineage.get("policy")
    return isinstance(account, dict) and account.get("policy_before") == live.version


def _lost(live: Policy, candidate: Policy) -> Iterator[str]:
    rules = {rule.name: rule for rule in candidate.rules}
    for rule in live.rules:
        if rule.owner != TRAINER and rules.get(rule.name) != rule:
            yield f"rule {rule.name} of {rule.owner} ({_how(rule.name in rules)})"
    lists = {found.name: found for found in candidate.lists}
    for found in live.lists:
        other = lists.get(found.name)
        if other == found:
            continue
        missing = len(set(found.entries) - set(other.entries)) if other else len(found.entries)
        yield f"{found.kind} list {found.name} of {found.owner} ({_how(other is not None)}, {missing} entries lost)"
    for name, unset, words in (
        ("thresholds_of_people", (), "thresholds by tenant and channel"), ("expected_loss", None, "expected loss"),
        ("without_score", "review", "the decision without a score"),
    ):  # fmt: skip
        theirs = getattr(live, name)
        if theirs != unset and getattr(candidate, name) != theirs:
            yield words
    if live.thresholds_owner != TRAINER and (live.review, live.decline) != (
        candidate.review,
        candidate.decline,
    ):
        yield f"the thresholds of {live.thresholds_owner}: review {live.review:g}, decline {live.decline:g}"


def _how(is_there: bool) -> str:
    return "another version" if is_there else "missing"
