"""Batches of features made by hand, row by row, and taken apart again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import astuple

from streams.log.feature_batch import BatchColumns, FeatureBatch, FeatureRecord, decode_batch, encode_batch


def batch_of(records: Sequence[FeatureRecord]) -> FeatureBatch:
    """Rows of one catalogue and partition, in the order of their offsets, as a batch."""
    first = records[0]
    assert {(r.catalogue, r.partition, len(r.vector)) for r in records} == {
        (first.catalogue, first.partition, len(first.vector))
    }
    names = ("offset", "appended_ms", "deadline_ms", "missing", "late_ms", "decided", "trace")
    beside: list[Any] = [[getattr(record, name) for record in records] for name in names]
    decided, traces = beside[-2:]
    beside[-2:] = decided if any(decided) else None, traces if any(traces) else None
    *fields, attributes = zip(*(astuple(r.transaction) for r in records), strict=True)
    columns = BatchColumns(
        *fields, *beside, [each or None for each in attributes] if any(attributes) else None
    )
    vectors = np.frombuffer(b"".join(r.vector for r in records), "<f4").reshape(len(records), -1)
    as_of = np.array([(*r.as_of, r.frauds_as_of) for r in records], dtype=np.int64)
    return FeatureBatch(
        first.catalogue, first.partition, [r.event_ms for r in records], vectors, as_of, columns
    )


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
