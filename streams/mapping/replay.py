"""A mapped file as history (a table, for training) or as traffic (records in order of arrival, labels when due)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.contracts.card_numbers import mask_card_numbers
from streams.mapping.definition import Mapping
from streams.mapping.encoding import encode_keys, encode_labels, encode_transactions
from streams.mapping.source import Source, read_source, unfit_rows
from streams.mapping.tokens import KEY_BYTES

_ONE_PROCESS_KEY = msgspec.json.encode({"only": "within one table"}).ljust(KEY_BYTES, b"\0")


def load_history(path: str | Path, mapping: Mapping, key: bytes | None = None) -> pa.Table:
    """The valid rows in replay order, as a history table with label columns.

    Without a key, card tokens have no meaning outside this table, which is enough for training and evaluation.

    Raises:
        MappingError: the file cannot be read, lacks a column, or an identifier holds a card number.
    """
    source = read_source(Path(path), mapping, key or _ONE_PROCESS_KEY)
    return source.table.filter(pa.array(~source.unfit)) if source.unfit.any() else source.table


@dataclass(frozen=True)
class Records:
    """Kafka records of one topic: keys and values of equal number; ``clock_ms`` is the event time reached after them."""

    keys: list[bytes | None]
    values: list[bytes]
    clock_ms: int


class ReplayFile:
    """A file as traffic. Rows that are not valid transactions are sent as their producer wrote them, card numbers masked.

    Raises:
        MappingError: as ``load_history``; also when the mapping tokenises and there is no key.
    """

    def __init__(
        self, path: str | Path, mapping: Mapping, key: bytes | None, limit: int | None = None
    ) -> None:
        self._source: Source = read_source(Path(path), mapping, key, limit)
        table = self._source.table
        fit = table.filter(pa.array(~self._source.unfit))
        told = fit.filter(pc.is_valid(fit["label"]))
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
            yield Records(encode_keys(part["card_id"]), self._values(begin, part), clock)

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

    def _values(self, begin: int, part: pa.Table) -> list[bytes]:
        unfit = self._source.unfit[begin : begin + len(part)]
        if not unfit.any():
            return encode_transactions(part)
        fit = iter(encode_transactions(part.filter(pa.array(~unfit))))
        rows = unfit_rows(self._source, (begin + int(i) for i in np.flatnonzero(unfit)))
        return [mask_card_numbers(msgspec.json.encode(next(rows))) if bad else next(fit) for bad in unfit]
