"""Writes rows to Parquet, each exactly once: buffers them per partition, writes whole files, then stores the position.

``<root>/<topic>/date=YYYY-MM-DD/<topic>-<partition>-<first offset>-<last offset>.parquet``; the date is the event's.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.attributes import NO_ATTRIBUTES, Attributes
from features.feast_repo.archived import schema_with
from streams.archive.manifest import Manifest, Position, temporary
from streams.archive.tables import (
    SCHEMAS,
    Arrived,
    Refuse,
    arrived,
    decision_table,
    feature_table,
    outcome_table,
)
from streams.log.feature_batch import FeatureBatch, FeatureBatchError
from streams.log.offsets.source_ends import SourceEnd
from streams.log.offsets.source_offsets import ImpossibleOffset, SourceOffsets, check_batch
from streams.log.other_catalogues import Layouts
from streams.log.topics import DECISIONS, FEATURES
from streams.runtime.metrics import ARCHIVED_ROWS

_DAY_MS = 86_400_000
#: decisions become columns once there are so many: as records they would fill fresh memory until the flush, which costs more than the
#: conversion; of fewer rows its fixed cost would count
_TABLE_ROWS = 512


@dataclass(frozen=True)
class FlushPolicy:
    """Flush ``every_s`` seconds after the first buffered row, or at ``rows`` buffered rows, which bounds the memory (2 kB a row).

    A file of features has a fixed cost for its 207 columns: a row costs 2.0 us in a file of 15,000 rows, 3.7 us in one of 5,000.
    """

    rows: int = 60_000
    every_s: float = 5.0


@dataclass
class _Buffer:
    """What arrived of one partition since the last flush: ``records`` not converted yet, and ``tables`` of those before them."""

    first: int
    last: int = 0
    records: list[Any] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)


class Archive:
    """Buffers and writes records. Thread-safe, so that a rebalance can ask for positions at any time."""

    def __init__(
        self,
        root: Path,
        refuse: Refuse,
        policy: FlushPolicy | None = None,
        layouts: Layouts | None = None,
        source_end: SourceEnd | None = None,
        attributes: Attributes = NO_ATTRIBUTES,
    ) -> None:
        """``layouts``: layouts of other catalogues; None: none known. ``source_end``: where `transactions` ends; None: not known.
        ``attributes``: those that get a column.

        Raises: ManifestError when ``root`` cannot be used."""
        self._root = root
        self._refuse = refuse
        self._layouts = layouts or Layouts(lambda _: None)
        self._policy = policy or FlushPolicy()
        self._manifest = Manifest(root)
        self._positions = self._manifest.positions()
        #: offsets below these are buffered or archived
        self._expected = {place: at.next_offset for place, at in self._positions.items()}
        self._source_end = source_end
        self._attributes = attributes
        #: by partition of `features`, the highest source offset seen
        self._highest = {
            place[1]: at.last_source for place, at in self._positions.items() if place[0] == FEATURES.name
        }
        self._buffers: dict[tuple[str, int], _Buffer] = {}
        self._buffered = 0
        self._oldest_s: float | None = None
        self._lock = threading.Lock()

    def start_positions(self, assigned: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Next offset to read of each partition, after a flush of the buffer.

        A partition that was never archived starts at 0 (the broker's earliest), not at the group's committed offset, which may be ahead
        of the files after a crash.
        """
        with self._lock:
            self._flush()
            return {place: self._expected.get(place, 0) for place in assigned}

    def add(self, records: list[Any], now_s: float) -> list[FeatureBatch]:
        """Buffer Kafka records, each partition's in offset order. Drops records below the partition's position.

        Returns the batches of `features` among the buffered records.
        """
        batches: list[FeatureBatch] = []
        with self._lock:
            for place, some in groupby(records, attrgetter("topic", "partition")):
                expected = self._expected.get(place, 0)
                fresh = [record for record in some if record.offset >= expected]
                if not fresh:
                    continue
                self._expected[place] = fresh[-1].offset + 1
                buffer = self._buffers.setdefault(place, _Buffer(fresh[0].offset))
                buffer.last = fresh[-1].offset
                if place[0] == FEATURES.name:
                    decoded = [self._arrived(record) for record in fresh]
                    buffer.records += decoded
                    batches += [one.batch for one in decoded if isinstance(one.batch, FeatureBatch)]
                    self._buffered += sum(one.rows for one in decoded)
                else:
                    buffer.records += fresh
                    self._buffered += len(fresh)
                    if place[0] == DECISIONS.name and len(buffer.records) >= _TABLE_ROWS:
                        self._convert(buffer)
            if self._oldest_s is None and self._buffered:
                self._oldest_s = now_s
            if self._buffered >= self._policy.rows:
                self._flush()
        return batches

    def _arrived(self, record: Any) -> Arrived:
        """A record of `features`; one whose offset cannot be would hide all that come after it."""
        found = arrived(record)
        if self._source_end is None or isinstance(found.batch, FeatureBatchError):
            return found
        highest = self._highest.get(record.partition, -1)
        try:
            check_batch(found.batch, highest, self._source_end)
        except ImpossibleOffset as error:
            return Arrived(record, FeatureBatchError(str(error)))
        self._highest[record.partition] = max(highest, found.batch.columns.offset[-1])
        return found

    def flush_due(self, now_s: float) -> None:
        """Flush if the flush policy's ``every_s`` has passed."""
        with self._lock:
            if self._oldest_s is not None and now_s - self._oldest_s >= self._policy.every_s:
                self._flush()

    def close(self) -> None:
        """Flush the buffer and close the manifest."""
        with self._lock:
            self._flush()
            self._manifest.close()

    def _flush(self) -> None:
        if not self._buffered:
            return
        files: list[tuple[Path, pa.Table]] = []
        positions: dict[tuple[str, int], Position] = {}
        rows: dict[str, int] = {}
        for place, buffer in self._buffers.items():
            table, positions[place] = self._table(place, buffer)
            rows[place[0]] = rows.get(place[0], 0) + table.num_rows
            files += self._files(place, buffer.first, buffer.last, table)
        self._manifest.begin([path for path, _ in files])
        for path, table in files:
            write_parquet(path, table)
        self._manifest.finish(positions)
        self._positions.update(positions)
        self._buffers, self._buffered, self._oldest_s = {}, 0, None
        for topic, count in rows.items():
            ARCHIVED_ROWS.labels(topic).inc(count)

    def _convert(self, buffer: _Buffer) -> None:
        buffer.tables.append(decision_table(buffer.records, self._refuse))
        buffer.records = []

    def _table(self, place: tuple[str, int], buffer: _Buffer) -> tuple[pa.Table, Position]:
        """The rows to write, and the partition's position after that."""
        at, after = self._positions.get(place, Position(0)), buffer.last + 1
        if place[0] == FEATURES.name:
            seen = SourceOffsets({place[1]: at.last_source})
            table = feature_table(buffer.records, self._refuse, seen, self._layouts, self._attributes)
            return table, Position(after, seen.of(place[1]))
        if place[0] == DECISIONS.name:
            self._convert(buffer)
            return pa.concat_tables(buffer.tables), Position(after)
        table, sources = outcome_table(buffer.records, self._refuse, at.sources)
        return table, Position(after, sources=sources)

    def _files(
        self, place: tuple[str, int], first: int, last: int, table: pa.Table
    ) -> list[tuple[Path, pa.Table]]:
        topic, partition = place
        days = table.column("event_timestamp").cast(pa.int64()).to_numpy() // _DAY_MS
        out = []
        for day in np.unique(days):
            date = np.datetime64(int(day), "D")
            path = self._root / topic / f"date={date}" / f"{topic}-{partition}-{first}-{last}.parquet"
            same = days == day
            out.append((path, table if same.all() else table.filter(pa.array(same))))
        return out


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a whole file or none: under a temporary name, synced to disk, then renamed.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = temporary(path)
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    pq.write_table(
        table, waiting, compression="zstd", compression_level=1, use_dictionary=texts, write_statistics=False
    )
    with waiting.open("rb") as written:
        os.fsync(written.fileno())
    waiting.replace(path)


def ensure_schema_files(root: Path, attributes: Attributes = NO_ATTRIBUTES) -> None:
    """Write one empty file per topic, first by name, so that readers of an empty archive find the columns.

    Written again when columns are added, since some readers take the schema from the first file.
    """
    for topic, schema in {**SCHEMAS, FEATURES.name: schema_with(attributes)}.items():
        path = root / topic / "date=1970-01-01" / f"{topic}-empty.parquet"
        if not path.exists() or pq.read_schema(path) != schema:
            write_parquet(path, schema.empty_table())
