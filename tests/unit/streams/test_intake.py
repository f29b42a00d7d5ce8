"""What the processor accepts: headers that anybody can send, and events from the future."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

import msgspec
import pytest

from features.catalogue import CATALOGUE_HASH
from features.store.partitions import partitions_of
from streams.contracts.invalid_event import InvalidEvent
from streams.log.records import EdgeDecision, encode_edge_decision
from streams.processor.intake import sort_out
from streams.runtime.dead_letters import dead_letter

APPENDED = 1_795_256_200_000
TX = {
    "transaction_id": "tx-1", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-42", "merchant_id": "m-9",
    "amount_minor": 1299, "currency": "EUR",
}  # fmt: skip
DECISION = {
    "transaction_id": "tx-1", "decision": "approve", "status": "scored", "score": 0.1, "reasons": [], "model": "fraud",
    "model_version": "1.0.0", "policy_version": "1", "features_version": "x", "arm": "champion", "shadow": {}, "rules": [],
    "event_time": TX["event_time"], "received_at": TX["event_time"], "decided_at": TX["event_time"], "latency_ms": 1.0,
    "card_id": "card-42", "tenant": "default",
}  # fmt: skip


class Record(NamedTuple):
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    topic: str = "transactions"
    partition: int = int(partitions_of(["card-42"], 2)[0])
    offset: int = 7
    timestamp: int = APPENDED


def edge(decision: Any, **beside: Any) -> bytes:
    raw = decision if isinstance(decision, bytes) else json.dumps(decision).encode()
    made = EdgeDecision(raw, CATALOGUE_HASH, b"", (-1, -1, -1, -1, -1), 0)
    return encode_edge_decision(msgspec.structs.replace(made, **beside))


def one(*headers: tuple[str, bytes | None], **changes: Any) -> Any:
    intake = sort_out([Record(json.dumps({**TX, **changes}).encode(), list(headers))], 2, 100)
    assert len(intake.accepted) + len(intake.refused) == 1
    return intake.accepted.rows()[0] if len(intake.accepted) else intake.refused[0][1]


def test_headers_that_fit_are_used() -> None:
    event = one(
        ("tollgate-deadline-ms", b"0"),
        ("tollgate-appended-ms", b"1795256100000"),
        ("tollgate-decided", edge(DECISION)),
    )
    assert (event.deadline_ms, event.appended_ms, event.decided is not None) == (0, 1795256100000, True)
    plain = one()
    assert (plain.deadline_ms, plain.appended_ms, plain.decided) == (100, APPENDED, None)


@pytest.mark.parametrize(
    "header",
    [
        ("tollgate-appended-ms", None),
        ("tollgate-appended-ms", b"x"),
        ("tollgate-appended-ms", b"9" * 25),
        ("tollgate-appended-ms", b"-1"),
        ("tollgate-deadline-ms", None),
        ("tollgate-deadline-ms", b"9" * 18),
        ("tollgate-decided", b""),
        ("tollgate-decided", b"garbage"),
        ("tollgate-decided", edge(b"not json")),
        ("tollgate-decided", edge({"decision": "approve"})),
        ("tollgate-decided", edge({**DECISION, "transaction_id": "tx-2"})),
        ("tollgate-decided", edge({**DECISION, "card_id": "card-1"})),
        # what no column of features holds
        ("tollgate-decided", edge(DECISION, vector=b"12345")),
        ("tollgate-decided", edge(DECISION, as_of=(0, 0, 2**63, 0, 0))),
        ("tollgate-decided", edge(DECISION, frauds_as_of=2**63)),
        ("tollgate-decided", edge(DECISION, missing=2**31)),
        ("traceparent", b"\xff"),
    ],
)
def test_headers_that_do_not_fit_refuse_the_record_only(header: tuple[str, bytes | None]) -> None:
    error = one(header)
    assert isinstance(error, InvalidEvent) and error.reason == "header"


def test_events_from_the_future_are_refused() -> None:
    error = one(event_time="2099-01-01T00:00:00Z")
    assert isinstance(error, InvalidEvent) and error.reason == "event_time_ahead"


@pytest.mark.parametrize("field", ["card_id", "channel", "device_id"])
def test_a_card_number_reaches_no_part_of_a_dead_letter(field: str) -> None:
    for raw in (
        json.dumps({**TX, field: "4111111111111111"}).encode(),
        json.dumps({**TX, field: "4111 1111 1111 1111"}).encode(),
        json.dumps({**TX, field: "@"}).replace("@", "\\u00341111111111111\\u00311").encode(),
    ):
        record = Record(raw, [])
        (refused,) = sort_out([record], 2, 100).refused
        letter = dead_letter(record, refused[1], APPENDED)
        shown = letter.text + (base64.b64decode(letter.original or "")).decode()
        assert "4111111111111111" not in shown.replace(" ", "") and "1111111111111" not in letter.text
