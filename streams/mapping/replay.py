"""A mapped file as history (a table, for training) or as traffic (records in order of arrival, labels when due)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.mapping.definition import Mapping
from streams.mapping.encoding import encode_keys, encode_labels, encode_transactions
from streams.mapping.report import Report
from streams.mapping.source import Source, read_source
from streams.mapping.tokens import KEY_BYTES

_ONE_PROCESS_KEY = msgspec.json.encode({"only": "within one table"}).ljust(KEY_BYTES, b"\0")


def load_history(
    path: str | Path,
    mapping: Mapping,
    key: bytes | None = None,
    watch: Callable[[Report], None] | None = None,
) -> pa.Table:
    """The valid rows in replay order, as a history table with label columns.

    Without a key, card tokens have no meaning outside this table, which is enough for training and evaluation.

    Args:
        watch: is given the report on the file.

    Raises:
        MappingError: see ``read_source``.
    """
    source = read_source(Path(path), mapping, key or _ONE_PROCESS_KEY, refused_too=False)
    table = source.table.filter(pa.array(~source.unfit)) if source.unfit.any() else source.table
    if watch is not None:
        watch(source.report)
    return table.drop_columns(["row"])


@dataclass(frozen=True)
class Records:
    """Kafka records of one topic: keys and values of equal number; ``clock_ms`` is the event time reached after them."""

    keys: list[bytes | None]
    values: list[bytes]
    clock_ms: int


class ReplayFile:
    """A file as traffic. Rows that are no transactions are sent as their producer wrote them, card numbers masked.

    Raises:
        MappingError: as ``load_history``; also when the mapping tokenises and there is no key.
    """

    def __init__(
        self, path: str | Path, mapping: Mapping, key: bytes | None, limit: int | None = None
    ) -> None:
        self._source: Source = read_source(Path(path), mapping, key, limit)
        table = self._source.table
        #: the rows that are transactions, as a history table
        self.fit = table.filter(pa.array(~self._source.unfit)) if self._source.unfit.any() else table
        told = self.fit.filter(pc.is_valid(self.fit["label"]))
        self._labels = told.take(pc.sort_indices(told, sort_keys=[("label_time", "ascending")]))
        self._label_ms = self._labels["label_time"].cast(pa.int64()).to_numpy()
        self._labels_done = 0

    @property
    def rows(self) -> int:
        return int(self._source.table.num_rows)

    @property
    def unfit(self) -> int:
        """Number of rows that will become dead letters."""
        return int(self._source.unfit.sum())

    @property
    def report(self) -> Report:
        """What the file holds."""
        return self._source.report

    @property
    def first_event_ms(self) -> int | None:
        """Smallest event time in ms; None if no row has one."""
        smallest = pc.min(self._source.table["event_time"].cast(pa.int64())).as_py()
        return None if smallest is None else int(smallest)

    def transactions(self, size: int = 2_000) -> Iterator[Records]:
        """All rows in replay order, ``size`` at a time; ``clock_ms`` never decreases."""
        clock = -(2**62)
        for begin in range(0, self.rows, size):
            part = self._source.table.slice(begin, size)
            newest = pc.max(part["event_time"].cast(pa.int64())).as_py()
            clock = clock if newest is None else max(clock, int(newest))
            yield Records(self._keys(begin, part), self._values(begin, part), clock)

    def accepted(self, size: int = 2_000) -> Iterator[Records]:
        """As ``transactions``, without the rows that are none."""
        for begin in range(0, self.fit.num_rows, size):
            part = self.fit.slice(begin, size)
            newest = pc.max(part["event_time"].cast(pa.int64())).as_py()
            yield Records(encode_keys(part["card_id"]), encode_transactions(part), int(newest))

    def event_times(self, size: int = 2_000) -> Iterator[np.ndarray]:
        """Event times (ms, int64) of the same slices; a row without a time takes the previous one."""
        times = self._source.table["event_time"].cast(pa.int64())
        filled = pc.fill_null_backward(pc.fill_null_forward(times)).to_numpy()
        for begin in range(0, self.rows, size):
            yield filled[begin : begin + size]

    def labels_until(self, clock_ms: int | None, most: int = 20_000) -> Records:
        """Up to ``most`` labels due by that event time and not returned yet; None: all that are left."""
        begin = self._labels_done
        end = (
            len(self._label_ms)
            if clock_ms is None
            else int(np.searchsorted(self._label_ms, clock_ms, side="right"))
        )
        end = min(max(end, begin), begin + most)
        part = self._labels.slice(begin, end - begin)
        self._labels_done = end
        clock = int(self._label_ms[end - 1]) if end else 0
        return Records(encode_keys(part["card_id"]), encode_labels(part), clock)

    def _keys(self, begin: int, part: pa.Table) -> list[bytes | None]:
        """Keys of the records. A refused row has none: what stands for its card may be a card number."""
        return encode_keys(
            pc.if_else(pa.array(self._source.unfit[begin : begin + len(part)]), None, part["card_id"])
        )

    def _values(self, begin: int, part: pa.Table) -> list[bytes]:
        unfit = self._source.unfit[begin : begin + len(part)]
        if not unfit.any():
            return encode_transactions(part)
        fit = iter(encode_transactions(part.filter(pa.array(~unfit))))
        refused = self._source.refused
        numbers = part["row"].to_pylist()
        return [refused[row] if bad else next(fit) for row, bad in zip(numbers, unfit, strict=True)]
