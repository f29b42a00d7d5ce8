"""``tollgate decisions explain``: where a decision comes from. Decision, what moved its score, bundle, training run, data, code."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.attributes import PREFIX
from models.bundle.attribute_columns import SentAttributes
from models.bundle.content import MODEL, Bundle
from models.bundle.registry import read_state
from models.scoring.scorer import Scorer
from services.cli.one_decision.replayed import CannotReplay, row_of
from services.cli.one_decision.view import shown
from services.trainer.tracking import logged_run
from streams.audit.decided_payment import DecidedPayment, Served
from streams.runtime.settings import Settings

#: features that are listed: those that move the score most, either way
MOST = 10


def explained(settings: Settings, found: DecidedPayment, bundle: Bundle | None) -> dict[str, Any]:
    """What ``--json`` prints. ``moved_by`` is None where the features are gone.

    Raises:
        CannotReplay: the bundle is gone or cannot be trusted.
    """
    decision = found.decision
    if bundle is None:
        raise CannotReplay(
            f"model {decision.get('model_version')} is not in the registry or cannot be trusted: `tollgate models list`"
        )
    lineage, state = bundle.lineage, read_state(settings.bundles_dir, MODEL, bundle.version)
    run = logged_run(settings, bundle.version)
    return {
        "decision": {name: decision.get(name) for name in ("transaction_id", "tenant", "decision", "status", "score", "arm", "decided_at")},
        "reasons": decision.get("reasons", []),
        "moved_by": _moved_by(found.served, bundle) if found.served else None,
        "model": {"name": MODEL, "version": bundle.version, "policy_version": bundle.policy.version, "features_version": decision.get("features_version")},
        "approved": {"state": state.state, "by": state.by, "why": state.why, "since": state.since.isoformat(), "reviewed": state.reviewed} if state else None,
        "run": {"mlflow": settings.mlflow, "run_id": run.run_id, "registered_version": run.registry_version} if run else None,
        "data": {"fingerprint": lineage.get("data_fingerprint"), **_account(lineage)},
        "request": lineage.get("request"),
        "code_version": lineage.get("code_version"), "trained_at": lineage.get("created_at"),
    }  # fmt: skip


def _account(lineage: dict[str, Any]) -> dict[str, Any]:
    account = lineage.get("data")
    return {k: v for k, v in account.items() if k != "fingerprint"} if isinstance(account, dict) else {}


def _moved_by(served: Served, bundle: Bundle) -> list[dict[str, Any]]:
    """The features that move the score most, up or down, in log-odds; unknown values too, since a model learns from them."""
    scorer = Scorer(bundle, measure=False)
    own = served.transaction.get("attributes") or {}
    (shap,) = scorer.contributions(scorer.with_attributes(row_of(served), SentAttributes([own])))
    values = served.features | {PREFIX + name: value for name, value in own.items()}
    order = np.argsort(-np.abs(shap), kind="stable")[:MOST]
    names = bundle.feature_names
    return [
        {
            "feature": names[i],
            "value": values.get(names[i]),
            "contribution": round(float(shap[i]), 4),
        }
        for i in order.tolist()
        if shap[i] != 0
    ]


def explained_lines(answer: dict[str, Any]) -> list[str]:
    """The answer as text, from the decision to the code."""
    decision, model = answer["decision"], answer["model"]
    score = "no score" if decision["score"] is None else f"score {decision['score']:.4f}"
    out = [f"{decision['transaction_id']}: {decision['decision']}, {decision['status']}, {score}, decided at {decision['decided_at']}"]  # fmt: skip
    out += ["because", *(f"  {reason['text']}" for reason in answer["reasons"])] if answer["reasons"] else []
    if answer["moved_by"] is None:
        out.append(
            "score moved by: the features that were served are gone from the log and not in the archive"
        )
    else:
        out.append("score moved by (log-odds)")
        for each in answer["moved_by"]:
            value = shown(each["value"])
            out.append(f"  {each['contribution']:+8.3f}  {each['feature']} = {value}")
    out.append(f"model {model['name']} {model['version']}, policy {model['policy_version']}")
    approved = answer["approved"]
    if approved:
        reviewed = "reviewed" if approved["reviewed"] else "unreviewed"
        why = f": {approved['why']}" if approved["why"] else ""
        out.append(f"  {approved['state']} since {approved['since']}, by {approved['by']}{why} ({reviewed})")
    run = answer["run"]
    out.append(f"  training run {run['run_id']} at {run['mlflow']}" if run else "  no training run is logged")
    out.append(f"  trained {answer['trained_at']} by code {answer['code_version']}")
    data = answer["data"]
    account = ", ".join(f"{name} {value}" for name, value in data.items() if not isinstance(value, dict))
    return [*out, f"  on data: {account}"]
