"""Example answers of the OpenAPI document, made by the functions that answer requests, so that they stay correct."""

from __future__ import annotations

from typing import Any

import msgspec

from features.catalogue import CATALOGUE_HASH, FEATURES, INDEX
from features.transaction import Transaction, from_ms
from models.decision import Decision, Reason
from models.policy.policy import FALLBACK
from services.scoring.edge.limits import Limits, Quotas
from services.scoring.edge.problems import (
    Problem,
    compressed,
    conflict,
    forbidden,
    internal,
    invalid,
    not_ready,
    overloaded,
    store_unavailable,
    too_large,
    unacknowledged,
    unauthenticated,
    unavailable,
    unknown,
)  # fmt: skip
from services.scoring.http.scoring_routes import batch_answer, too_slow
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.json_encoding import encode
from streams.contracts.transaction_parsing import parse_transaction

TRANSACTION: dict[str, Any] = {
    "transaction_id": "tx-8f1c", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-42", "merchant_id": "m-9",
    "amount_minor": 1299, "currency": "EUR", "device_id": "d-5", "ip": "203.0.113.7", "mcc": "5411", "channel": "ecom",
    "country": "FR", "tenant": "default",
}  # fmt: skip
LABEL: dict[str, Any] = {
    "transaction_id": "tx-8f1c", "label": "fraud", "label_time": "2026-11-21T18:00:00Z", "source": "chargeback",
    "card_id": "card-42", "merchant_id": "m-9", "event_time": "2026-11-21T10:15:30.123Z",
}  # fmt: skip


def _parsed(**changed: Any) -> Transaction:
    return parse_transaction(msgspec.json.encode(TRANSACTION | changed))


def _refused() -> Problem:
    try:
        _parsed(amount_minor="12.99")
    except InvalidEvent as error:
        return invalid(error)
    raise AssertionError("an amount that is a text was accepted")


_TX = _parsed()
_COUNT = FEATURES[INDEX["card_count_1h"]]
_SCORED = Decision(
    transaction_id=_TX.transaction_id, decision="review", status="scored", score=0.8731,
    reasons=[
        *FALLBACK.evaluation.reasons.of([FALLBACK.rules[0].name], 1, lambda _: None, 0.0),
        Reason(_COUNT.reason_code, _COUNT.reason_text.format(value=7), 1.42),
    ],
    model="fraud", model_version="1.4.0",
    policy_version="12", features_version=CATALOGUE_HASH, arm="champion", shadow={}, rules=[FALLBACK.rules[0].name],
    event_time=_TX.event_time, received_at=from_ms(_TX.event_ms + 40), decided_at=from_ms(_TX.event_ms + 47),
    latency_ms=7.4, card_id=_TX.card_id, tenant=_TX.tenant,
)  # fmt: skip
DECISIONS: dict[str, Decision] = {
    "scored": _SCORED,
    "degraded": msgspec.structs.replace(
        _SCORED, status="degraded", score=0.6102, reasons=[], rules=[], degraded_by=["device_features", "explanations"]
    ),
    "not_scored": msgspec.structs.replace(
        _SCORED, status="not_scored", score=None, reasons=[], rules=[], model_version="none",
        policy_version=FALLBACK.version, degraded_by=["model"],
    ),
}  # fmt: skip
_LIMITS = Limits()
PROBLEMS: dict[str, Problem] = {
    problem.reason: problem
    for problem in (
        unauthenticated("this API key is not known, or was revoked"),
        forbidden("the API key 5f1c03a9be42 is of tenant acme, the request names other", "tenant"),
        unknown(_TX.tenant, _TX.transaction_id), too_slow(), conflict(_TX), too_large(_LIMITS.body_bytes), _refused(),
        Quotas("tenant", _LIMITS.tenant_rate, _LIMITS.burst_s).refusal(), internal(), overloaded(_LIMITS.in_flight), unacknowledged(),
        not_ready("no bundle was rolled out yet"), store_unavailable(), compressed(),
        unavailable("broker", "50,000 records wait for the broker"),
    )
}  # fmt: skip


def decisions() -> dict[str, Any]:
    """OpenAPI ``examples`` of one decision, by status."""
    return {name: {"value": msgspec.json.decode(encode(made))} for name, made in DECISIONS.items()}


def batch() -> dict[str, Any]:
    """OpenAPI ``examples`` of a batch's answer: one item is decided, one refused."""
    answer = batch_answer([encode(_SCORED), PROBLEMS["field"]])
    return {"an item with a problem": {"value": msgspec.json.decode(answer)}}


def problems(*reasons: str) -> dict[str, Any]:
    """OpenAPI ``examples`` of problem bodies."""
    return {reason: {"value": msgspec.json.decode(PROBLEMS[reason].to_json())} for reason in reasons}
