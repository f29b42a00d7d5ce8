"""Batches of features made by hand, row by row, and taken apart again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from features.transaction import epoch_ms
from streams.log.feature_batch import (
    NUMBERS,
    FeatureBatch,
    FeatureRecord,
    Texts,
    decode_batch,
    encode_batch,
    event_us_of,
)


def batch_of(records: Sequence[FeatureRecord]) -> FeatureBatch:
    """Rows of one catalogue and partition, in the order of their offsets, as a batch."""
    first, transactions = records[0], [record.transaction for record in records]
    assert {(r.catalogue, r.partition, len(r.vector)) for r in records} == {
        (first.catalogue, first.partition, len(first.vector))
    }
    numbers = np.zeros(len(records), dtype=NUMBERS)
    for name in ("offset", "appended_ms", "as_of", "frauds_as_of", "late_ms", "deadline_ms", "missing"):
        numbers[name] = [getattr(record, name) for record in records]
    numbers["amount_minor"] = [tx.amount_minor for tx in transactions]
    for name in ("latitude", "longitude"):
        values = [getattr(tx, name) for tx in transactions]
        numbers[name] = [np.nan if value is None else value for value in values]
    numbers["event_us"] = event_us_of(transactions)
    # a row that says another time than its transaction is one that a test has spoilt
    for row, (record, tx) in enumerate(zip(records, transactions, strict=True)):
        if record.event_ms != epoch_ms(tx.event_time):
            numbers["event_us"][row] = 1000 * record.event_ms
    vectors = np.frombuffer(b"".join(r.vector for r in records), "<f4").reshape(len(records), -1)
    decided, traces = [r.decided for r in records], [r.trace for r in records]
    return FeatureBatch(
        first.catalogue, first.partition, numbers, vectors, Texts.of(transactions),
        decided if any(decided) else None, traces if any(traces) else None,
    )  # fmt: skip


def encode_features(*records: FeatureRecord) -> bytes:
    """The value of one record of `features` with these rows."""
    (value,) = encode_batch(batch_of(records))
    return value


def rows_in(values: Iterable[bytes | None]) -> list[FeatureRecord]:
    """The rows of many records' values."""
    return [row for batch in batches_in(values) for row in batch.records()]


def batches_in(values: Iterable[bytes | None]) -> list[FeatureBatch]:
    """The batches in records' values, each on the partition that it says."""
    return [decode_batch(value, _partition(value)) for value in values]


def decode_features(value: bytes | None) -> FeatureRecord:
    """The only row of a record's value."""
    (row,) = rows_in([value])
    return row


def _partition(value: Any) -> int:
    partition: int = msgspec.msgpack.decode(value or b"")[1]
    return partition
