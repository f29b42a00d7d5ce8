"""A decision with what it was decided on, as ``tollgate decisions show --json`` and the console give it."""

from __future__ import annotations

from typing import Any

from models.bundle.content import Bundle, BundleRefused
from services.cli.one_decision.matched import matched
from streams.audit.decided_payment import DecidedPayment
from streams.runtime.bundles import verified_bundle
from streams.runtime.settings import Settings


def answer_of(found: DecidedPayment, bundle: Bundle | None) -> dict[str, Any]:
    """What ``--json`` prints. ``bundle``: the model and policy that decided; None if it is gone."""
    decision, served = found.decision, found.served
    answer: dict[str, Any] = {
        "decision": decision, "matched": [{"name": name, "values": {}} for name in decision.get("rules", ())],
        "thresholds": None, "transaction": served.transaction if served else None,
        "features": served.features if served else None,
        "found_in": {"decision": found.source, "features": served.source if served else None},
    }  # fmt: skip
    if bundle is not None and bundle.policy.version == decision.get("policy_version"):
        channel = (served.transaction if served else {}).get("channel")
        review, decline = bundle.policy.evaluation.by_score.thresholds_of(decision.get("tenant"), channel)
        answer["matched"] = matched(found, bundle.policy)
        answer["thresholds"] = {"review": review, "decline": decline}
    return answer


def bundle_of(settings: Settings, version: str) -> Bundle | None:
    """The model and policy of a version; None if it is gone, does not verify, or is none: decided without a model."""
    try:
        return verified_bundle(settings, version)
    except (BundleRefused, OSError, ValueError):
        return None
