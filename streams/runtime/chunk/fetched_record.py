"""The records of a fetch in a light form.

aiokafka makes a frozen dataclass of eleven fields of every record and passes it through two Python iterators; that took 39 % of the
archive's CPU. Three processes read every transaction, so its fetcher is given a class that builds a struct of seven fields instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from aiokafka.consumer import fetcher


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """One consumed record, as handlers read it; ``timestamp``: ms since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class FetchedRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one partition's fetch response."""

    def __iter__(self) -> Iterator[FetchedRecord]:
        # the generator itself, without a Python call per record
        records: Iterator[FetchedRecord] = self._records_iterator
        return records

    def _consumer_record(self, place: Any, record: Any) -> FetchedRecord:
        return FetchedRecord(
            place.topic, place.partition, record.offset, record.timestamp, record.key, record.value, record.headers
        )  # fmt: skip


def use_fetched_records() -> None:
    """Make aiokafka's fetchers of this process yield ``FetchedRecord``."""
    fetcher.PartitionRecords = FetchedRecords
