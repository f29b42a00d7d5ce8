"""A record of features in columns: what goes in comes out, what does not belong together is refused, and none is too large."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import CATALOGUE_HASH
from features.transaction import Transaction, epoch_ms
from streams.log.feature_batch import (
    MAX_BYTES,
    MAX_ROWS,
    NUMBERS,
    FeatureBatch,
    FeatureBatchError,
    FeatureRecord,
    decode_batch,
    decode_vectors,
    encode_batch,
)
from streams.log.source_offsets import SourceOffsets, unseen
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
    assert head.catalogue == "c1" and head.numbers.tobytes() == batch.numbers.tobytes()
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
    assert [offset for part in parts for offset in part.offsets.tolist()] == list(range(n))
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


def wire(**changes: Any) -> bytes:
    """A batch of three rows as it is on the topic, but for some of its parts."""
    parts = ["catalogue", "partition", "numbers", "vectors", "texts", "decided", "traces"]
    values = dict(zip(parts, msgspec.msgpack.decode(encode_batch(some(3))[0]), strict=True))
    made = {name: change(values[name]) for name, change in changes.items()}
    return msgspec.msgpack.encode(list({**values, **made}.values()))


def reordered(*offsets: int) -> Any:
    def change(raw: bytes) -> bytes:
        numbers = np.frombuffer(raw, NUMBERS).copy()
        numbers["offset"] = offsets
        return numbers.tobytes()

    return change


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"numbers": lambda raw: raw[:-1]}, "no rows of equal size"),
        ({"numbers": lambda raw: b""}, "no rows of equal size"),
        ({"vectors": lambda raw: raw[:-1]}, "no rows of equal size"),
        ({"numbers": lambda raw: raw[: NUMBERS.itemsize]}, "1 rows have columns of \\[3\\]"),
        ({"texts": lambda texts: [texts[0][:2], *texts[1:]]}, r"3 rows have columns of \[2, 3\]"),
        ({"decided": lambda _: [None] * 4}, r"columns of \[3, 4\]"),
        ({"traces": lambda _: []}, r"columns of \[0, 3\]"),
        ({"numbers": reordered(0, 2, 1)}, "do not ascend"),
        ({"numbers": reordered(0, 1, 1)}, "do not ascend"),
        ({"numbers": reordered(-1, 1, 2)}, "do not ascend"),
        ({"partition": lambda _: 1}, "says partition 1 and lies on 0"),
        ({"partition": lambda _: "0"}, "Expected `int`"),
        ({"texts": lambda texts: [["x" * 65] * 3, *texts[1:]]}, "length <= 64"),
        ({"texts": lambda texts: [*texts[:8], ["phone"] * 3, *texts[9:]]}, "phone"),
        ({"texts": lambda texts: texts[:-1]}, "at least length 11"),
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
    assert len(batch.vectors) == len(batch.texts.card_id) == len(batch) > 0


def test_an_absurd_time_is_an_error_of_its_rows_not_of_the_batch() -> None:
    batch = some(3)
    numbers = batch.numbers.copy()
    numbers["event_us"][1] = 2**62
    spoilt = FeatureBatch(CATALOGUE_HASH, 0, numbers, batch.vectors, batch.texts)
    (value,) = encode_batch(spoilt)
    found = decode_batch(value, 0)
    with pytest.raises((ValueError, OverflowError, OSError)):
        found.transactions()
    assert found[:1].transactions() == batch[:1].transactions()
    assert found[2:].transactions() == batch[2:].transactions()


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
        assert (fresh.offsets.tolist() if fresh else []) == expected
        assert [offset for offset in sorted(offsets) if plain.take(partition, offset)] == expected
        assert seen.of(partition) == plain.of(partition) == highest[partition]


ROW = decode_features(features(0).value)
