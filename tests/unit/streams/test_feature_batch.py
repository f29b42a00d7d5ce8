"""A record of features in columns: what goes in comes out, what does not belong together is refused, and none is too large."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.transaction import Transaction, epoch_ms
from streams.log.feature_batch import (
    MAX_BYTES,
    MAX_ROWS,
    BatchColumns,
    FeatureBatch,
    FeatureBatchError,
    FeatureRecord,
    decode_batch,
    decode_vectors,
    encode_batch,
)
from streams.log.offsets.source_offsets import SourceOffsets, unseen
from tests.support.archive_samples import features
from tests.support.feature_batches import batch_of, decode_features

names = st.sampled_from(["a", "card-1", "x" * 64, "Zoë", "日本" * 32, "😀"])
int64s = st.integers(-1, 2**63 - 1)
transactions = st.builds(
    Transaction,
    transaction_id=names, card_id=names, merchant_id=names, tenant=names, currency=st.sampled_from(["EUR", "USD"]),
    event_time=st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31, 23, 59, 59, 999_999), timezones=st.just(UTC)),
    amount_minor=st.integers(0, 2**40 - 1), customer_id=st.none() | names, device_id=st.none() | names,
    ip=st.sampled_from([None, "203.0.113.7", "2001:db8::1"]), mcc=st.sampled_from([None, "5411", ""]),
    channel=st.sampled_from([None, "pos", "ecom", "atm", "transfer", "moto"]), country=st.sampled_from([None, "FR"]),
    latitude=st.none() | st.floats(-90, 90), longitude=st.none() | st.floats(-180, 180),
)  # fmt: skip


@st.composite
def rows(draw: st.DrawFn) -> list[FeatureRecord]:
    offsets = sorted(draw(st.sets(st.integers(0, 2**63 - 1), min_size=1, max_size=4)))
    width = draw(st.sampled_from([1, 3]))
    out = []
    for offset in offsets:
        tx = draw(transactions)
        # any bits, those of all NaNs too
        vector = draw(st.binary(min_size=4 * width, max_size=4 * width))
        out.append(
            FeatureRecord(
                catalogue="c1", partition=3, offset=offset, appended_ms=draw(int64s), deadline_ms=draw(st.integers(0, 10_000)),
                missing=draw(st.integers(0, 31)), transaction=tx, event_ms=epoch_ms(tx.event_time), vector=vector,
                as_of=draw(st.tuples(*[int64s] * 5)), decided=draw(st.none() | st.binary(min_size=1)), trace=draw(st.none() | names),
                frauds_as_of=draw(int64s), late_ms=draw(st.integers(0, 10**12)),
            )
        )  # fmt: skip
    return out


@settings(max_examples=40, deadline=None)
@given(rows())
def test_what_is_encoded_comes_back_to_the_bit(records: list[FeatureRecord]) -> None:
    (value,) = encode_batch(batch_of(records))
    batch = decode_batch(value, 3)
    found = batch.records()
    assert [msgspec.structs.asdict(row) for row in found] == [msgspec.structs.asdict(row) for row in records]
    assert [type(row.transaction).__name__ for row in found] == ["Transaction"] * len(records)
    head = decode_vectors(value, 3)
    assert (head.catalogue, head.event_ms) == ("c1", [row.event_ms for row in records])
    assert head.vectors.tobytes() == b"".join(row.vector for row in records)


def some(n: int, first: int = 0) -> FeatureBatch:
    return batch_of([decode_features(features(number).value) for number in range(first, first + n)])


def test_parts_and_chosen_rows_are_rows_of_the_whole() -> None:
    batch = some(7)
    every = batch.records()
    assert batch[2:5].records() == every[2:5]
    assert batch.take([0, 3, 6]).records() == [every[0], every[3], every[6]]
    assert batch[2:5].vectors.base is not None, "a part is no copy"


@pytest.mark.parametrize("n", [1, MAX_ROWS, MAX_ROWS + 1, 3 * MAX_ROWS])
def test_no_record_is_too_large_and_the_order_stays(n: int) -> None:
    batch = some(n)
    values = encode_batch(batch)
    parts = [decode_batch(value, 0) for value in values]
    assert all(len(part) <= MAX_ROWS for part in parts) and max(map(len, values)) <= MAX_BYTES
    assert [offset for part in parts for offset in part.columns.offset] == list(range(n))
    assert (len(values) == 1) == (n <= MAX_ROWS)


def test_decisions_that_travel_with_few_rows_split_them_too() -> None:
    rows = [
        msgspec.structs.replace(decode_features(features(number).value), decided=b"x" * 50_000)
        for number in range(20)
    ]
    values = encode_batch(batch_of(rows))
    assert len(values) > 1 and max(map(len, values)) <= MAX_BYTES
    assert [row for value in values for row in decode_batch(value, 0).records()] == rows
    # one row alone goes as it is
    one = msgspec.structs.replace(rows[0], decided=b"x" * (2 * MAX_BYTES))
    (value,) = encode_batch(batch_of([one]))
    assert decode_batch(value, 0).records() == [one]


PARTS = ["catalogue", "partition", "event_ms", "vectors", "as_of", "columns"]
COLUMNS = BatchColumns.__struct_fields__


def wire(**changes: Any) -> bytes:
    """A batch of three rows as it is on the topic, but for some of its parts and columns."""
    parts = dict(zip(PARTS, msgspec.msgpack.decode(encode_batch(some(3))[0]), strict=True))
    columns = dict(zip(COLUMNS, parts["columns"], strict=True))
    for name, change in changes.items():
        of = parts if name in parts else columns
        of[name] = change(of[name])
    return msgspec.msgpack.encode([*list(parts.values())[:-1], list(columns.values())])


def shorter(column: Any) -> Any:
    return column[:-1]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        *(({name: shorter}, "other lengths|equal width") for name in ("event_ms", "vectors", "as_of")),
        *(({name: shorter}, "other lengths") for name in COLUMNS if name not in ("decided", "trace", "attributes")),
        ({"event_ms": lambda _: []}, "equal width"),
        ({"decided": lambda _: [None] * 4}, "other lengths"),
        ({"trace": lambda _: []}, "other lengths"),
        ({"offset": lambda _: [0, 2, 1]}, "do not ascend"),
        ({"offset": lambda _: [0, 1, 1]}, "do not ascend"),
        ({"offset": lambda _: [-1, 1, 2]}, ">= 0"),
        ({"offset": lambda _: [0, 1, 2**63]}, "<= 9223372036854775807"),
        ({"event_ms": lambda _: [0, 1, 2**63]}, "<= 9223372036854775807"),
        ({"missing": lambda _: [0, 1, 2**31]}, "<= 2147483647"),
        ({"partition": lambda _: 1}, "says partition 1 and lies on 0"),
        ({"partition": lambda _: "0"}, "Expected `int`"),
        ({"card_id": lambda _: ["x" * 65] * 3}, "length <= 64"),
        ({"channel": lambda _: ["phone"] * 3}, "phone"),
    ],
)  # fmt: skip
def test_columns_that_do_not_belong_together_are_no_batch(changes: dict[str, Any], why: str) -> None:
    assert len(decode_batch(wire(), 0)) == 3
    with pytest.raises(FeatureBatchError, match=why):
        decode_batch(wire(**changes), 0)


@pytest.mark.parametrize(
    "value", [None, b"", b"\xff", b"\x97", wire()[:-1], b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000]
)
def test_bytes_that_are_no_batch_raise_one_error(value: bytes | None) -> None:
    for decode in (decode_batch, decode_vectors):
        with pytest.raises(FeatureBatchError):
            decode(value, 0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 255))
def test_a_spoilt_byte_is_refused_or_read_as_whole_rows(place: int, byte: int) -> None:
    value = bytearray(wire())
    value[place % len(value)] = byte
    try:
        batch = decode_batch(bytes(value), 0)
    except FeatureBatchError:
        return
    assert len(batch.vectors) == len(batch.columns.card_id) == len(batch) > 0


@given(st.lists(st.tuples(st.integers(0, 1), st.sets(st.integers(0, 30), min_size=1)), max_size=12))
def test_rows_are_new_once_whatever_batches_they_come_in(batches: list[tuple[int, set[int]]]) -> None:
    """Against the rule in two lines: above the highest offset seen of its partition, one by one."""
    seen: SourceOffsets[int] = SourceOffsets()
    plain: SourceOffsets[int] = SourceOffsets()
    highest = {0: -1, 1: -1}
    for partition, offsets in batches:
        rows = [
            msgspec.structs.replace(ROW, partition=partition, offset=offset) for offset in sorted(offsets)
        ]
        expected = [offset for offset in sorted(offsets) if offset > highest[partition]]
        highest[partition] = max(highest[partition], *offsets)
        fresh = unseen(batch_of(rows), seen)
        assert (fresh.columns.offset if fresh else []) == expected
        assert [offset for offset in sorted(offsets) if plain.see(partition, offset)] == expected
        assert seen.of(partition) == plain.of(partition) == highest[partition]


ROW = decode_features(features(0).value)
