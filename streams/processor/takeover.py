"""Takes over from another version of the state: locks that version out and silently applies the records that it applied.

What the other version has applied, it has also produced (decision 1): its features and entity updates are on the log, and decided. So up
to its positions this version only writes state; from there it continues as after any restart. Nothing is repeated, and nothing
is decided with two catalogues, in either direction (old to new, new to old).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from faust.types import TP

from features.profile.records import STATE_VERSION
from features.store.partition_lease import REBUILDING_KEY, Leases, TopicPartition
from features.store.redis_client import RespClient
from features.store.state_versions import furthest_elsewhere, took_over, unfinished
from streams.log.topics import ENTITIES, TRANSACTIONS
from streams.processor.cards import CardStage
from streams.processor.commit import ChunkCommit, Committer
from streams.processor.entities import EntityStage
from streams.processor.state_loss import READ_AGAIN_AT_MOST
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.chunk.consumer import MAX_CHUNK_RECORDS
from streams.runtime.kafka.clients import headers_of
from streams.runtime.kafka.log_reader import LogRow, read_span, whole_log
from streams.runtime.settings import Settings
from streams.runtime.skips import Skips

logger = logging.getLogger(__name__)
#: seconds without a record from the broker before the process ends: no decision is made meanwhile
STALL_S = 60.0


class NotPrepared(Exception):
    """This code's state version cannot be completed from the log; the text says what to do."""


class Takeover:
    """Take-over by a processor: ``check`` before it joins the group; ``shut_out`` and ``catch_up`` on each assignment."""

    def __init__(
        self,
        settings: Settings,
        client: RespClient,
        leases: Leases,
        cards: CardStage,
        entities: EntityStage,
        committer: Committer,
    ) -> None:
        self._settings = settings
        self._client = client
        self._leases = leases
        self._cards = cards
        self._entities = entities
        self._committer = committer
        self._skips = Skips(settings.run_dir)

    def check(self) -> None:
        """Check before joining the group, so that code that cannot take over does not disturb the active version.

        Raises:
            NotPrepared: this version's state is not there. StoreUnavailable, LedgerUnreachable.
        """
        if self._client.with_retry([("GET", REBUILDING_KEY)])[0] is not None:
            # the rebuild builds this version's state
            return
        self._check(furthest_elsewhere(self._client, places_of(self._settings)))

    def shut_out(self, assigned: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Lock other versions' workers out; returns the highest position of other versions for each of ``assigned``.

        On all partitions: a worker that kept some would compute with entities that its version no longer updates.

        Raises:
            NotPrepared: as ``check``; then no version is locked out. StoreUnavailable, LedgerUnreachable.
        """
        self._check(furthest_elsewhere(self._client, places_of(self._settings)))
        everywhere = furthest_elsewhere(self._client, places_of(self._settings), shut_out=True)
        return {place: everywhere[place] for place in assigned if place in everywhere}

    def catch_up(self, produced: Mapping[TopicPartition, int]) -> None:
        """Silently apply the records between this version's positions and ``produced``; then make this version the active one.

        Entities first, so that their profiles are complete before features are made from them.

        Raises:
            CommitFailed: another worker leased a partition, or Redis or the broker is unreachable. LedgerUnreachable.
        """
        for topic in (ENTITIES.name, TRANSACTIONS.name):
            self._catch_up(topic, {place: end for place, end in produced.items() if place[0] == topic})
        self._client.with_retry(took_over(STATE_VERSION))

    def _check(self, produced: Mapping[TopicPartition, int]) -> None:
        half = unfinished(self._client, STATE_VERSION)
        if half is not None:
            raise NotPrepared(
                f"state version {STATE_VERSION} is incomplete, {half}: run `tollgate features prepare` to its end"
            )
        if not produced:
            return
        stored = self._leases.stored(list(produced))
        unknown = sum(end for place, end in produced.items() if stored[place] is None)
        if unknown > READ_AGAIN_AT_MOST:
            raise NotPrepared(
                f"this code reads state version {STATE_VERSION}, which does not exist, and {unknown:,} records were handled "
                "before: run this code's `tollgate features prepare` while the previous code runs, then start this code again"
            )
        behind = {place: at for place, at in stored.items() if at is not None and at < produced[place]}
        if behind:
            self._check_kept(behind)

    def _check_kept(self, behind: Mapping[TopicPartition, int]) -> None:
        first, _ = whole_log(self._settings.kafka, sorted({topic for topic, _ in behind}))
        gone = [f"{t}[{p}] from {at:,} on" for (t, p), at in behind.items() if at < first[t].get(p, 0)]
        if gone:
            raise NotPrepared(
                f"state version {STATE_VERSION} is too old: the log no longer holds the records after it ({', '.join(gone)}): "
                "run `tollgate features prepare`, then start again"
            )

    def _catch_up(self, topic: str, produced: Mapping[TopicPartition, int]) -> None:
        own = self._leases.positions(list(produced))
        behind = {place: end for place, end in produced.items() if own[place] < end}
        if not behind:
            return
        count = sum(end - own[place] for place, end in behind.items())
        logger.warning("state version %d: %d records of %s are applied silently", STATE_VERSION, count, topic)
        starts = {topic: {partition: own[topic, partition] for _, partition in behind}}
        ends = {topic: {partition: end for (_, partition), end in behind.items()}}
        at = {TP(*place): own[place] for place in behind}
        with self._silently():
            read_span(
                self._settings.kafka, starts, ends, lambda r: self._apply(topic, r, at), stall_s=STALL_S
            )
            # the last offsets may hold no record (transaction markers); positions still have to pass them
            left = {place: end for place, end in behind.items() if at[TP(*place)] < end}
            if left:
                begun = {place: at[TP(*place)] for place in left}
                self._committer.end(ChunkCommit(list(left), begun, left, [], lambda: None))
            self._committer.settled()

    def _apply(self, topic: str, records: list[Any], at: dict[TP, int]) -> None:
        """Pass records on as chunks that start at the positions ``at``, and advance ``at``."""
        handle = self._cards.handle if topic == TRANSACTIONS.name else self._entities.handle
        for first in range(0, len(records), MAX_CHUNK_RECORDS):
            part = records[first : first + MAX_CHUNK_RECORDS]
            ends = {TP(topic, record.partition()): record.offset() + 1 for record in part}
            rows: list[Any] = [LogRow.of(record, headers_of(record)) for record in self._skips.left_in(part)]
            handle(Chunk(topic, rows, ends, {place: at[place] for place in ends}))
            at.update(ends)

    @contextlib.contextmanager
    def _silently(self) -> Iterator[None]:
        self._cards.silent = self._entities.silent = True
        try:
            yield
        finally:
            self._cards.silent = self._entities.silent = False


def places_of(settings: Settings) -> list[TopicPartition]:
    """All partitions of `transactions` and `entities`."""
    return [
        (topic, partition)
        for topic in (TRANSACTIONS.name, ENTITIES.name)
        for partition in range(settings.partitions)
    ]
