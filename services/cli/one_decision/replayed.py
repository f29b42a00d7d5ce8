"""``tollgate decisions replay``: a past decision made again, from the features as they were served and the bundle that decided."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE_HASH, INDEX, NAMES, WIDTH
from features.transaction import Transaction, epoch_ms
from models.bundle.content import Bundle
from models.decision import Decision, Exploration
from models.policy.exploration import Drawn, explored
from models.scoring.scorer import Scorer
from services.scoring.decision.decider import MISSING_NAMES, Case, Decider
from streams.audit.decided_payment import DecidedPayment, Served

#: time that a replayed decision has: reasons are never left out for want of it
_PLENTY_MS = 600_000


class CannotReplay(Exception):
    """Something that the decision was made with is gone."""

    exit_code = 1


def replayed(found: DecidedPayment, bundle: Bundle | None, *, today: bool = False) -> dict[str, Any]:
    """The decision made again, and where it differs: what ``--json`` prints.

    ``identical`` holds score (six decimals, as published), decision, rules, reasons with their contributions, and policy. Backends of one
    bundle may differ in the last bits, and which one scored depends on the batch: each is tried, and ``backend`` names the one that gave the
    published score. What was left out for want of time is left out of the comparison (``left_out``). ``today``: the bundle is not the one of
    then but the one that is live now, and the differences are what it would decide otherwise; lists are looked at as they stood then.

    Raises:
        CannotReplay: the features, the bundle or its policy of then are gone, or nothing had been scored.
    """
    decision = found.decision
    if bundle is None:
        raise CannotReplay(
            f"model {decision.get('model_version')} is not in the registry or cannot be trusted: `tollgate models list`"
        )
    if not today and bundle.policy.version != decision.get("policy_version"):
        raise CannotReplay(f"the bundle holds policy {bundle.policy.version}, not {decision.get('policy_version')}, which decided")  # fmt: skip
    if found.served is None:
        raise CannotReplay("the features that were served are gone from the log and not in the archive")
    scorer = Scorer(bundle, measure=False)
    case, matrix = _case(decision, found.served), row_of(found.served)
    _check_known(found.served, scorer)
    best: tuple[list[dict[str, Any]], Decision, str] | None = None
    for backend in scorer.backends:
        scorer.table = [(1, backend)]
        again = _decide(case, matrix, scorer, decision, draw=not today)
        differences = _differences(decision, again)
        if best is None or len(differences) < len(best[0]):
            best = differences, again, backend.name
    assert best is not None  # a scorer has at least two backends
    differences, again, backend_name = best
    return {
        "transaction_id": decision["transaction_id"], "tenant": decision["tenant"], "identical": not differences,
        "differences": differences, "left_out": _left_out(decision), "model_version": bundle.version,
        "policy_version": bundle.policy.version, "features_from": found.served.source, "backend": backend_name, "today": today,
        "replayed": {name: value for name, value in msgspec.json.decode(msgspec.json.encode(again)).items() if name in _COMPARED},
    }  # fmt: skip


_COMPARED = ("decision", "status", "score", "reasons", "rules", "policy_version", "degraded_by")


def _case(decision: Mapping[str, Any], served: Served) -> Case:
    transaction = msgspec.convert(served.transaction, Transaction)
    missing = sum(bit for bit, name in MISSING_NAMES if name in decision.get("degraded_by", ()))
    decided = epoch_ms(datetime.fromisoformat(decision["decided_at"]))
    return Case(transaction, transaction.event_ms, decided, decided + _PLENTY_MS, missing, CATALOGUE_HASH)


def row_of(served: Served) -> npt.NDArray[np.float32]:
    """The features as they were served, float32 (1, WIDTH) in this code's order, NaN for unknown."""
    row = np.full((1, WIDTH), np.nan, dtype=np.float32)
    for name, value in served.features.items():
        if value is not None and name in INDEX:
            row[0, INDEX[name]] = value
    return row


def _check_known(served: Served, scorer: Scorer) -> None:
    lacks = [NAMES[column] for column in scorer.columns.tolist() if NAMES[column] not in served.features]
    if lacks:
        raise CannotReplay(
            f"the features were made with another catalogue, which lacks {', '.join(lacks[:3])}"
        )


def _decide(
    case: Case, matrix: npt.NDArray[np.float32], scorer: Scorer, decision: Mapping[str, Any], *, draw: bool
) -> Decision:
    # entries of lists expire: the policy looks at them at the time of the decision
    decided_s = datetime.fromisoformat(decision["decided_at"]).timestamp()
    (again,) = Decider(clock=lambda: decided_s).decide([case], matrix, scorer)
    drawn = decision.get("exploration")
    if draw and drawn is not None and again.decision == drawn["would_be"]:
        # the draw is repeated, not made again
        let_through = decision["decision"] != drawn["would_be"]
        explored(again, Drawn(Exploration(**drawn), decision["decision"] if let_through else None))
    return again


def _left_out(decision: Mapping[str, Any]) -> list[str]:
    """Fields that time, not the inputs, decided."""
    return ["reasons"] if "explanations" in decision.get("degraded_by", ()) else []


def _differences(decision: Mapping[str, Any], again: Decision) -> list[dict[str, Any]]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(again))
    ignored = {*_left_out(decision), "status", "degraded_by"}
    return [
        {"field": name, "decided": decision.get(name), "replayed": made[name]}
        for name in _COMPARED
        if name not in ignored
        and name in decision
        and _compared(name, decision[name]) != _compared(name, made[name])
    ]


def _compared(name: str, value: Any) -> Any:
    """Of reasons with a contribution the words are left out: another release may say the same value in other words."""
    if name != "reasons":
        return value
    return [{key: each[key] for key in each if key != "text" or "contribution" not in each} for each in value]


def replayed_lines(answer: Mapping[str, Any]) -> list[str]:
    """The answer as text."""
    again = answer["replayed"]
    score = "no score" if again["score"] is None else f"score {again['score']:.6f}"
    made_with = f"model {answer['model_version']} ({answer['backend']}), policy {answer['policy_version']}, features from the {answer['features_from']}"
    if answer["identical"]:
        left_out = (
            f"; not compared: {', '.join(answer['left_out'])}, left out then for want of time" if answer["left_out"] else ""
        )  # fmt: skip
        return [
            f"{answer['transaction_id']}: identical: {again['decision']}, {score}{left_out}",
            f"  {made_with}",
        ]
    out = [f"{answer['transaction_id']}: NOT identical", f"  {made_with}"]
    for each in answer["differences"]:
        out += [
            f"  {each['field']}",
            f"    decided:  {_said(each['decided'])}",
            f"    replayed: {_said(each['replayed'])}",
        ]
    return out


def _said(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(each["text"] if isinstance(each, dict) else str(each) for each in value) or "none"
    return str(value)
