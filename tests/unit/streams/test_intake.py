"""What the processor accepts: headers that anybody can send, and events from the future."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from features.catalogue import CATALOGUE_HASH
from features.store.partitions import partitions_of
from features.transaction import from_ms
from streams.log.edge_decision import MAX_AGE_MS, EdgeDecision, encode_edge_decision, seal_decision
from streams.log.forwarding import forward, seal_appended_ms
from streams.log.seal import Key, key_of
from streams.log.topics import TRANSACTIONS
from streams.processor.intake import AcceptedRow, sort_out
from streams.processor.record_headers import NotBelieved
from streams.runtime.dead_letters import dead_letter
from tests.support.card_spellings import SPELLINGS, spelled
from tests.support.edge_keys import KEYS

APPENDED = 1_795_256_200_000
TX = {
    "transaction_id": "tx-1", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-42", "merchant_id": "m-9",
    "amount_minor": 1299, "currency": "EUR",
}  # fmt: skip
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
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


BODY = json.dumps(TX).encode()
NEW, OLD = KEYS.keys
RETIRED = key_of(b"r" * 32)


def edge(decision: Any = DECISION, key: Key = NEW, value: bytes = BODY, **beside: Any) -> bytes:
    """The header that the edge with ``key`` puts beside ``value``."""
    raw = decision if isinstance(decision, bytes) else json.dumps(decision).encode()
    made = EdgeDecision(raw, CATALOGUE_HASH, b"", (-1, -1, -1, -1, -1), 0)
    return seal_decision(key, value, encode_edge_decision(msgspec.structs.replace(made, **beside)))


def taken(*headers: tuple[str, bytes | None], value: bytes = BODY) -> tuple[AcceptedRow, NotBelieved]:
    """One record that is accepted, as all are in spite of their headers, and what of these was not believed."""
    intake = sort_out([Record(value, list(headers))], 2, 100, KEYS)
    assert (len(intake.accepted), intake.refused) == (1, [])
    return intake.accepted.rows()[0], intake.not_believed


def test_headers_that_fit_are_used() -> None:
    event, not_believed = taken(
        ("tollgate-deadline-ms", b"0"),
        ("tollgate-appended-ms", seal_appended_ms(NEW, BODY, 1795256100000)),
        ("tollgate-decided", edge()),
        ("traceparent", TRACE.encode()),
    )
    assert (event.deadline_ms, event.appended_ms, event.trace) == (0, 1795256100000, TRACE)
    assert event.decided is not None and json.loads(event.decided.decision) == DECISION
    assert not_believed == NotBelieved()
    plain, _ = taken()
    assert (plain.deadline_ms, plain.appended_ms, plain.decided) == (100, APPENDED, None)


def test_the_key_before_the_newest_is_accepted_and_a_retired_one_is_not() -> None:
    assert taken(("tollgate-decided", edge(key=OLD)))[0].decided is not None
    event, not_believed = taken(("tollgate-decided", edge(key=RETIRED)))
    assert event.decided is None and [f.error.reason for f in not_believed.forged] == ["unknown_key"]


LARGE = json.dumps({**TX, "amount_minor": 90_000_000}).encode()
OTHER = json.dumps({**TX, "transaction_id": "tx-2"}).encode()
#: a small payment's decision under the name of the large one, as somebody makes it who has no key
RENAMED = edge({**DECISION, "transaction_id": "tx-2"}, value=OTHER).replace(b"tx-2", b"tx-1")


@pytest.mark.parametrize(
    ("reason", "header", "value"),
    [
        ("missing", None, BODY),
        ("missing", b"", BODY),
        ("missing", b"garbage", BODY),
        # as it was before decisions were sealed: whatever its first bytes are taken for
        ("unknown_key", encode_edge_decision(EdgeDecision(json.dumps(DECISION).encode(), CATALOGUE_HASH, b"", (-1,) * 5, 0)), BODY),
        ("wrong", edge(), LARGE),
        ("wrong", RENAMED, BODY),
        ("wrong", edge()[:-1] + b"\x7f", BODY),
        ("wrong", edge()[:4] + bytes(32) + edge()[36:], BODY),
        # the seal of a forwarded record is no decision's
        ("wrong", seal_appended_ms(NEW, BODY, APPENDED), BODY),
        ("unreadable", edge(b"not json"), BODY),
        ("unreadable", edge({"decision": "approve"}), BODY),
        ("unreadable", edge({**DECISION, "decided_at": "2026-11-21T10:15:30"}), BODY),
        # what no column of features holds
        ("unreadable", edge(vector=b"12345"), BODY),
        ("unreadable", edge(as_of=(0, 0, 2**63, 0, 0)), BODY),
        ("unreadable", edge(frauds_as_of=2**63), BODY),
        ("unreadable", edge(missing=2**31), BODY),
        ("other_payment", edge({**DECISION, "transaction_id": "tx-2"}), BODY),
        ("other_payment", edge({**DECISION, "card_id": "card-1"}), BODY),
        ("old", edge({**DECISION, "decided_at": from_ms(APPENDED - MAX_AGE_MS - 1).isoformat()}), BODY),
    ],
)  # fmt: skip
def test_a_forged_decision_is_counted_and_its_payment_decided_without_it(
    reason: str, header: bytes | None, value: bytes
) -> None:
    event, not_believed = taken(("tollgate-decided", header), value=value)
    assert event.decided is None and event.transaction.transaction_id == "tx-1"
    [forged] = not_believed.forged
    assert (forged.header, forged.error.reason, forged.record.offset) == ("tollgate-decided", reason, 7)


@pytest.mark.parametrize(
    "header", [None, b"0", b"x", b"9" * 25, b"-1", b"%d" % (APPENDED - 1), seal_appended_ms(NEW, LARGE, 1)]
)
def test_nobody_else_says_when_a_payment_was_received(header: bytes | None) -> None:
    event, not_believed = taken(("tollgate-appended-ms", header))
    assert event.appended_ms == APPENDED
    assert [forged.header for forged in not_believed.forged] == ["tollgate-appended-ms"]


@pytest.mark.parametrize(
    "header",
    [
        ("tollgate-deadline-ms", None),
        ("tollgate-deadline-ms", b""),
        ("tollgate-deadline-ms", b"10001"),
        ("tollgate-deadline-ms", b"9" * 18),
        ("tollgate-deadline-ms", b"1_0"),
        ("tollgate-deadline-ms", b" 10"),
        ("traceparent", None),
        ("traceparent", b"\xff"),
        ("traceparent", b"00-ab-cd-01"),
        ("traceparent", TRACE.encode() + b"\n"),
        ("traceparent", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"),
    ],
)
def test_headers_out_of_bounds_are_ignored(header: tuple[str, bytes | None]) -> None:
    event, not_believed = taken(header)
    assert (event.deadline_ms, event.trace, not_believed.ignored) == (100, None, [header[0]])


@pytest.mark.parametrize("header", [b"1", seal_appended_ms(RETIRED, BODY, 1)])
def test_a_record_on_the_wrong_partition_keeps_no_append_time_of_others(header: bytes) -> None:
    sent: list[Any] = []

    class Producer:
        def produce(self, topic: str, **record: Any) -> None:
            sent.append(record)

    producer: Any = Producer()
    forward(producer, TRANSACTIONS, Record(BODY, [("tollgate-appended-ms", header)]), "card-42", 1, KEYS)
    forward(
        producer,
        TRANSACTIONS,
        Record(BODY, sent[0]["headers"], timestamp=APPENDED + 60_000),
        "card-42",
        0,
        KEYS,
    )
    assert [taken(*record["headers"])[0].appended_ms for record in sent] == [APPENDED, APPENDED]


def test_events_from_the_future_are_refused() -> None:
    early = json.dumps({**TX, "event_time": "2099-01-01T00:00:00Z"}).encode()
    for beside in ([], [("tollgate-decided", edge(value=early))]):
        intake = sort_out([Record(early, beside)], 2, 100, KEYS)
        assert len(intake.accepted) == 0
        assert [error.reason for _, error in intake.refused] == ["event_time_ahead"]


#: places of a record that may hold a card number, and another reason to refuse it
PLACES: list[Callable[[str], dict[str, Any]]] = [
    lambda said: {"card_id": said},
    lambda said: {"channel": said},
    lambda said: {"device_id": said, "amount_minor": -1},
    lambda said: {"memo": {"notes": ["x", said]}, "amount_minor": "12"},
    lambda said: {said: 1, "event_time": "2026-11-21"},
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_card_number_reaches_no_part_of_a_dead_letter(
    name: str, place: Callable[[str], dict[str, Any]]
) -> None:
    number = "4111111111111111"
    changed = {**TX, **place(SPELLINGS[name](number))}
    for ascii_only in (True, False):
        document = json.dumps(changed, ensure_ascii=ascii_only).encode()
        # also where the record's end is lost, so that it is no JSON
        for raw in (document, document[:-1]):
            record = Record(raw, [])
            ((_, error),) = sort_out([record], 2, 100).refused
            letter = dead_letter(record, error, APPENDED)
            shown = f"{letter.text} {letter.field} {base64.b64decode(letter.original or '').decode()}"
            assert spelled(number, shown) == []
