"""A chunk parsed in one go is what its records are one by one, whatever stands beside what."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from features.store.partitions import partitions_of
from features.transaction import EARLIEST_EVENT, LATEST_EVENT, epoch_ms, epochs_ms
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.transaction_parsing import parse_together, parse_transaction, unknown_fields
from streams.log.records import HEADER_APPENDED_MS, HEADER_DEADLINE_MS, HEADER_DECIDED
from streams.processor.intake import Stretch, accepted_only, sort_out

APPENDED = 1_795_256_200_000
TX = {
    "transaction_id": "tx-1", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-42", "merchant_id": "m-9",
    "amount_minor": 1299, "currency": "EUR",
}  # fmt: skip
HOME = int(partitions_of(["card-42"], 2)[0])
CHANGES: list[dict[str, Any]] = [
    {}, {}, {}, {"device_id": "d-1", "ip": "203.0.113.7", "channel": "ecom", "latitude": 1.5, "longitude": 2},
    {"tenant": "bank-7", "mcc": "5411", "country": "FR", "customer_id": None, "latitude": None}, {"device_id": "tenant"},
    {"surprise": "x"}, {"device_id": "a%20b"}, {"device_id": "4111%201111%201111%201111"}, {"device_id": "a&b"}, {"surprise": 1}, {"surprise": None, "other": {"deep": [1, "2"]}}, {"currency": "eur"}, {"currency": "E1R"}, {"currency": "ZZZ"}, {"tenant": None}, {"tenant": "", "surprise": 1}, {"event_time": "2016-12-31T23:59:60Z"},
    {"device_id": "4111111111111111"}, {"device_id": "4111 1111 1111 1111"}, {"device_id": "123456789012"},
    {"device_id": "d\u00e9"}, {"device_id": "d\n1"}, {"device_id": 'd"1'}, {"device_id": "a\\b"}, {"device_id": "\x7f"}, {"device_id": ":null"},
    {"amount_minor": -1}, {"amount_minor": 1e300}, {"event_time": "1999-12-31T23:59:59Z"}, {"event_time": "2100-01-01T00:00:00Z"},
    {"event_time": "2026-11-21T10:15:30"}, {"event_time": "2099-01-01T00:00:00Z"}, {"card_id": ""}, {"card_id": "card-7"},
    {"ip": "2001:DB8::1"}, {"ip": "::ffff:203.0.113.7"}, {"ip": "999.1.1.1"}, {"ip": ""}, {"ip": "192.168.100.200"}, {"ip": " 203.0.113.7"},
    {"card_id": " card-42"}, {"card_id": "card-42 "}, {"device_id": " "}, {"device_id": "a b"}, {"device_id": "cafe\u0301"},
    {"device_id": "d\u202e"}, {"merchant_id": "1795256200005"}, {"merchant_id": "4111 1111  1111 1111"}, {"tenant": "4111-1111-1111-1111"},
    {"attributes": {"tier": "gold", "items": 7}}, {"attributes": {}}, {"attributes": None}, {"attributes": {"a": {"b": 1}, "c": "{"}},
    {"attributes": {"card": "4111111111111111", "tier": " x"}}, {"attributes": []}, {"attributes": {str(n): n for n in range(33)}},
    {"attributes": {"device_id": "x", "tenant": None}, "surprise": 1},
    {" surprise": "x"}, {"surprise": " x"}, {"transaction_id": None}, {"device_id": "x" * 17_000},
]  # fmt: skip
GOOD = json.dumps(TX).encode()
ODD = [
    None, b"", b"{}", b"null", b"[]", b"\xff", b'{"a":[{}', b"{}]}", GOOD + GOOD, GOOD + b" " + GOOD, GOOD + b"," + GOOD, GOOD + b"\n",
    b" " + GOOD, b"\n" + GOOD, GOOD.replace(b", ", b",\n "), GOOD.replace(b":", b" : "), GOOD[:-1] + b',"k":[{}', b"{}]}",
    GOOD[:-1] + b',"k":"}', b'{"}', GOOD + b"}", b"{" + GOOD, b"{" * 3_000 + b"}", GOOD.replace(b'"EUR"', b'"EUR","currency":"USD"'),
]  # fmt: skip
values = st.sampled_from(CHANGES).map(
    lambda change: json.dumps({**TX, **change}, ensure_ascii=False).encode()
) | st.sampled_from(ODD)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))])


class Record(NamedTuple):
    value: bytes | None
    offset: int
    headers: Any = ()
    topic: str = "transactions"
    partition: int = HOME
    timestamp: int = APPENDED


def shown(intake: Any) -> Any:
    return (
        [tuple(event) for event in intake.accepted.rows()],
        [(record, error.reason, error.field, str(error)) for record, error in intake.refused],
        [tuple(record) for record in intake.misplaced],
        intake.unknown_fields,
        intake.undeclared_attributes,
        [(forged.record, forged.header, forged.error.reason) for forged in intake.not_believed.forged],
        intake.not_believed.ignored,
    )


@given(st.lists(values, min_size=1, max_size=12))
@example([GOOD[:-1] + b',"k":[{}', b"{}]}", GOOD + GOOD])
@example([GOOD[:-1] + b',"k":"}', b'{"}', GOOD + GOOD])
def test_a_chunk_is_what_its_records_are(raw: list[bytes | None]) -> None:
    records = [Record(value, offset) for offset, value in enumerate(raw)]
    alone = [shown(sort_out([record], 2, 100)) for record in records]
    together = shown(sort_out(records, 2, 100))
    for kind in range(3):
        assert sorted(together[kind], key=repr) == sorted(
            (one for some in alone for one in some[kind]), key=repr
        )
    for kind in (3, 4):
        assert together[kind] == sum(some[kind] for some in alone)
    assert_accepted_only(records)


def assert_accepted_only(records: list[Record]) -> None:
    columns = zip(*((r.offset, r.timestamp, r.value) for r in records), strict=True)
    transactions, event_ms, offsets = accepted_only(Stretch(HOME, *columns), 2)
    accepted = sort_out(records, 2, 100).accepted.rows()
    assert (transactions, event_ms.tolist(), offsets.tolist()) == (
        [event.transaction for event in accepted], [event.event_ms for event in accepted], [event.offset for event in accepted],
    )  # fmt: skip


#: whatever a producer may put beside a record
headers = st.sampled_from([
    None, (), [("trace", b"x")], [("traceparent", b"00-1")], [("traceparent", b"\xff")], [(HEADER_DEADLINE_MS, b"50")],
    [(HEADER_DEADLINE_MS, b"-1")], [(HEADER_DEADLINE_MS, None)], [(HEADER_APPENDED_MS, b"%d" % APPENDED)],
    [(HEADER_APPENDED_MS, b"%d" % (APPENDED + 1))], [(HEADER_DECIDED, b"not one")],
])  # fmt: skip
appended = st.sampled_from(
    [APPENDED, APPENDED - 2 * 86_400_000, 1_795_256_130_123 - 86_400_000, 1_795_256_130_122 - 86_400_000]
)


@given(st.lists(st.tuples(values, headers, appended), min_size=1, max_size=8), st.integers(1, 40))
def test_a_rebuild_accepts_what_the_processor_accepts(told: list[Any], times: int) -> None:
    # more than are looked at one by one, of which some do not fit
    told = told * times
    assert_accepted_only(
        [Record(value, i, beside, timestamp=at) for i, (value, beside, at) in enumerate(told)]
    )


@given(
    st.lists(
        st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31, 23, 59, 59, 999_999), timezones=zones),
        max_size=20,
    )
)
@example([LATEST_EVENT - timedelta(microseconds=n) for n in range(1, 3_000)])
@example([EARLIEST_EVENT + timedelta(microseconds=n) for n in range(3_000)])
def test_many_moments_are_what_each_is(moments: list[datetime]) -> None:
    moments = [moment for moment in moments if EARLIEST_EVENT <= moment < LATEST_EVENT]
    assert epochs_ms(moments).tolist() == [epoch_ms(moment) for moment in moments]


@given(st.lists(values, min_size=1, max_size=6))
def test_what_is_parsed_together_needs_no_closer_look(raw: list[bytes | None]) -> None:
    found = parse_together(raw)
    if found is None:
        return
    assert found.transactions == [parse_transaction(value) for value in raw]
    assert not (found.plain and any(unknown_fields(value or b"") for value in raw))


def test_ordinary_records_are_parsed_together() -> None:
    plain = [json.dumps({**TX, **change}, separators=(",", ":")).encode() for change in CHANGES[:5]]
    found = parse_together(plain)
    assert found is not None and found.plain and len(found.transactions) == 5
    with_more = parse_together([*plain, json.dumps({**TX, "surprise": "x"}).encode()])
    assert with_more is not None and not with_more.plain


def test_what_is_refused_is_never_parsed_together() -> None:
    for value in [*ODD, *(json.dumps({**TX, **change}).encode() for change in CHANGES)]:
        try:
            parse_transaction(value)
        except InvalidEvent:
            assert parse_together([GOOD, value, GOOD]) is None  # type: ignore[list-item]


def test_no_depth_is_more_than_one_refused_record() -> None:
    """The exact look for unknown fields has less room for depth than the typed one: what passes one may not pass the other."""
    outcomes = set()
    for depth in range(850, 1_050):
        deep = GOOD[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"
        intake = sort_out([Record(GOOD, 0), Record(deep, 1)], 2, 100)
        assert len(intake.accepted) + len(intake.refused) == 2
        outcomes.add((len(intake.accepted), intake.unknown_fields))
    # somewhere in between it becomes too deep, for which record it is only itself to blame
    assert outcomes == {(2, 1), (1, 0)}
