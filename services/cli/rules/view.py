"""The output of ``tollgate rules``: the live policy as a table, and the result of a test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from features.currencies import amount_text
from models.bundle.content import Bundle


def listed(bundle: Bundle, now: datetime) -> dict[str, Any]:
    """The policy of a bundle as JSON; lists with the number of entries, not the entries."""
    policy = bundle.policy
    lists = []
    for found in policy.lists:
        ends = [end for end in (entry.expires or found.expires for entry in found.entries) if end is not None]
        lists.append(
            {
                "name": found.name, "kind": found.kind, "field": found.field, "owner": found.owner, "reason": found.reason,
                "tenants": list(found.tenants), "entries": len(ends), "expired": sum(1 for end in ends if end <= now),
                "next_expiry": min((end for end in ends if end > now), default=None),
            }
        )  # fmt: skip
    answer = {
        "model_version": bundle.version, "policy_version": policy.version, "review": policy.review,
        "decline": policy.decline, "without_score": policy.without_score, "thresholds": policy.thresholds,
        "expected_loss": policy.expected_loss,
        "rules": [
            {
                "name": rule.name, "when": rule.when, "action": rule.action, "owner": rule.owner, "reason": rule.reason,
                "tenants": list(rule.tenants), "expires": rule.expires,
                "expired": rule.expires is not None and rule.expires <= now,
            }
            for rule in policy.rules
        ],
        "lists": lists,
    }  # fmt: skip
    whole: dict[str, Any] = msgspec.to_builtins(answer)
    return whole


def listed_text(answer: dict[str, Any]) -> str:
    """The result of ``listed`` as text."""
    lines = [
        f"policy {answer['policy_version']} with model {answer['model_version']}: review from {answer['review']:.4f}, "
        f"decline from {answer['decline']:.4f}"
    ]
    for found in answer["thresholds"]:
        who = ", ".join(value for value in (found.get("tenant"), found.get("channel")) if value)
        lines.append(f"  {who}: review from {found['review']:.4f}, decline from {found['decline']:.4f}")
    if answer["expected_loss"]:
        lines.append(f"  minimises expected loss in {answer['expected_loss']['currency']}")
    lines.append(f"{'rule':<28} {'action':<8} {'owner':<16} {'until':<20} condition")
    for rule in answer["rules"]:
        until = "expired" if rule["expired"] else (rule["expires"] or "-")
        lines.append(f"{rule['name']:<28} {rule['action']:<8} {rule['owner']:<16} {until:<20} {rule['when']}")
    lines.append(f"{'list':<28} {'kind':<8} {'owner':<16} {'next expiry':<20} entries")
    for found in answer["lists"]:
        lines.append(
            f"{found['name']:<28} {found['kind']:<8} {found['owner']:<16} {found['next_expiry'] or '-':<20} "
            f"{found['entries']} of {found['field']}, {found['expired']} expired"
        )
    return "\n".join(lines)


def tested_text(answer: dict[str, Any]) -> str:
    """The result of a test as text."""
    labels, before, after = answer["labels"], answer["before"], answer["after"]
    lines = [
        f"{answer['rows']:,} transactions from {answer['since']} to {answer['until']}, against policy "
        f"{answer['against']['policy_version']}",
        f"{labels['fraud']:,} known frauds, {labels['honest']:,} honest, {labels['unknown']:,} too recent for a label, "
        f"{labels['censored']:,} declined at the time, of which nobody knows",
        "decisions changed: "
        + (", ".join(f"{n:,} {kind}" for kind, n in answer["changed"].items()) or "none"),
        f"{'':<28} {'before':>14} {'after':>14} {'difference':>14}",
    ]
    for name in ("frauds_caught", "frauds_missed", "false_alarms"):
        lines.append(_line(name.replace("_", " "), before[name], after[name]))
    for name in ("caught_minor", "missed_minor", "false_alarms_minor"):
        for currency in sorted({*before[name], *after[name]}):
            label = f"{name.removesuffix('_minor').replace('_', ' ')}, {currency}"
            sums = before[name].get(currency, 0), after[name].get(currency, 0)
            lines.append(_line(label, *sums, partial(amount_text, currency=currency)))
    lines.append(
        f"{'rule or list':<28} {'matched':>9} {'changed':>9} {'fraud':>9} {'honest':>9} {'declined':>9} {'unknown':>9}"
    )
    for name, found in answer["rules"].items():
        figures = " ".join(
            f"{found[kind]:>9,}" for kind in ("matched", "changed", "fraud", "honest", "censored", "unknown")
        )
        lines.append(f"{name:<28} {figures}")
    lines += [f"skipped: {name}: {error}" for name, error in answer["errors"].items()]
    return "\n".join(lines)


def _line(label: str, before: int, after: int, shown: Callable[[int], str] = "{:,}".format) -> str:
    figures = " ".join(f"{shown(value):>14}" for value in (before, after, after - before))
    return f"{label:<28} {figures}"
