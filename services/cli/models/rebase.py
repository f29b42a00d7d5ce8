"""``tollgate models rebase``: a waiting model with the policy that is live now, tested on the past before it is signed."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from features.catalogue import NAMES
from models.bundle.content import MODEL, Bundle, BundleRefused
from models.bundle.registry import next_policy_version
from models.policy.comparison import Comparison
from models.policy.outliving import lost_parts, replaces
from models.policy.policy import Policy
from models.scoring.scorer import Scorer
from services.cli.models.files import pick_version
from services.cli.terminal.exits import CheckFailed
from streams.archive.days import span
from streams.archive.rules_past import past_rows
from streams.runtime.bundles import verified_bundle
from streams.runtime.settings import Settings

#: how far back a policy is tried on archived payments
PAST_MS = 7 * 86_400_000


def switched_off(settings: Settings, candidate: Bundle) -> list[str]:
    """What people set in the live policy and the candidate would switch off, in words; empty where no model is live."""
    try:
        live = verified_bundle(settings, pick_version(settings, None))
    except CheckFailed:
        return []
    if live.version == candidate.version or replaces(candidate.lineage, live.policy):
        return []
    return lost_parts(live.policy, candidate.policy)


def switched_off_by(settings: Settings, before: str, after: str) -> list[str]:
    """What people set in the policy of version ``before`` and that of ``after`` lacks; empty if one cannot be read."""
    try:
        policies = [
            verified_bundle(settings, version, any_catalogue=True).policy for version in (before, after)
        ]
    except BundleRefused:
        return []
    return lost_parts(*policies)


def rebased(settings: Settings, candidate: Bundle, live: Bundle) -> tuple[Policy, dict[str, Any] | None]:
    """The candidate's policy with everything people set in the live one, and its test on the past; None if nothing is archived.

    Raises:
        CheckFailed: a rule fails on past payments.
    """
    policy = candidate.policy.with_parts_of(live.policy)
    policy = msgspec.structs.replace(policy, version=next_policy_version(settings.bundles_dir, MODEL))
    past = span(settings.archive_dir, PAST_MS)
    if past is None:
        return policy, None
    comparison = Comparison(live.policy, policy, time.time() * 1000)
    scorer = Scorer(candidate, measure=False)
    for rows in past_rows(settings.archive_dir, past, NAMES, settings.declared):
        comparison.add(rows, scorer.score(scorer.with_attributes(rows.matrix, rows.columns)))
    report = comparison.report()
    if report["errors"]:
        failed = "; ".join(f"{name}: {text}" for name, text in report["errors"].items())
        raise CheckFailed(
            f"on past payments these rules fail with the model of {candidate.version}: {failed}"
        )
    return policy, report
