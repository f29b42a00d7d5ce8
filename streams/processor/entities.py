"""The entity stage: applies chunks of `entities` to merchants, devices, ips, customers and cards' fraud histories, exactly once.

Each partition of `entities` has one writer. Updates carry their source (topic, partition, offset). The last applied offset per source
is written with the profiles, in one EXEC, so that duplicates are dropped. Label updates are compared by transaction instead: after a
crash the same update can come from another source (the label or the decision).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from confluent_kafka import Producer

from features.engine import Slots
from features.kernels.shared_entity import PAID
from features.store.keys import applied_key, label_statement_key
from features.store.partition_lease import Leases
from features.store.partitions import entity_partition
from features.store.profiles.cache import ProfileCache
from features.store.redis_client import Command, Packed, RespClient
from features.store.views import PAYMENTS_OF, View
from streams.contracts.invalid_event import UNREADABLE, InvalidEvent
from streams.log.offsets.log_marks import LogMarks, topic_of
from streams.log.offsets.source_ends import SourceEnd
from streams.log.offsets.source_offsets import ImpossibleOffset, SourceOffsets, check_offset
from streams.log.records import PAID_ENTITIES, EntityItems, decode_items
from streams.log.topics import DECISIONS, LABELS, TRANSACTIONS
from streams.processor.cards import commit_of, read_missing, say_staleness
from streams.processor.commit import ACKNOWLEDGE_WITHIN_S, Committer
from streams.processor.entity_updates import (
    Columns,
    Placed,
    Statement,
    StatementKey,
    apply_columns,
    columns_of_items,
    columns_of_paid,
    statement_key,
    view_of,
    without_repeats,
)
from streams.processor.payment_updates import Paid, unapplied_items, unapplied_paid, unpack_paid
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.dead_letters import dead_letter, send_dead_letter
from streams.runtime.kafka.clients import flush
from streams.runtime.metrics import DUPLICATES

Source = tuple[str, int]
#: the topics whose records mean something for entities
_SOURCES = frozenset((TRANSACTIONS.name, LABELS.name, DECISIONS.name))
#: label statements to keep in memory before waiting until they are written
MAX_UNWRITTEN = 10_000


class EntityStage:
    """Handles chunks of `entities` for the partitions that ``leases`` holds; ``cache`` is shared with the card stage."""

    def __init__(
        self,
        client: RespClient,
        producer: Producer,
        leases: Leases,
        cache: ProfileCache,
        committer: Committer,
        source_end: SourceEnd,
        marks: LogMarks,
    ) -> None:
        """``client`` is for reading; all writes go through ``committer``. ``source_end``: of topics that updates name."""
        self._client = client
        self._producer = producer
        self._leases = leases
        self._cache = cache
        self._committer = committer
        self._source_end = source_end
        self._marks = marks
        self._applied: dict[int, SourceOffsets[Source]] = {}
        #: label statements of chunks that may not be written yet
        self._unwritten: dict[StatementKey, Statement] = {}
        self.rebuilding = False
        #: write only state, no dead letters (take-over)
        self.silent = False

    def _keep(self, poison: list[tuple[Any, InvalidEvent]]) -> None:
        """Send poison records to dead letters, before the chunk is committed."""
        if not poison or self.silent:
            return
        # ``flush`` below must report only failures of these records, so wait for the earlier chunks first
        self._committer.acknowledged()
        now_ms = int(time.time() * 1000)
        for record, error in poison:
            send_dead_letter(self._producer, dead_letter(record, error, now_ms))
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)

    def load_applied(self, partitions: list[int]) -> None:
        """Read the last applied offset of each source on each partition, after an assignment."""
        replies = self._client.with_retry([("HGETALL", applied_key(partition)) for partition in partitions])
        self._applied, self._unwritten = {}, {}
        for partition, reply in zip(partitions, replies, strict=True):
            pairs = zip(reply[::2], reply[1::2], strict=True)
            self._applied[partition] = SourceOffsets({_source(name): int(at) for name, at in pairs})

    def handle(self, chunk: Chunk) -> Future[None] | None:
        """Process one chunk and hand it to the committer; if it raises, the next worker processes the chunk."""
        if self.rebuilding:
            # the rebuild reads these updates from the log
            return None
        started = time.monotonic()
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        known = {tp.partition: self._applied.get(tp.partition) for tp in chunk.positions}
        applied = {
            partition: SourceOffsets(seen.highest if seen else None) for partition, seen in known.items()
        }
        unapplied, poison = sort_items(chunk, applied, self._source_end)
        self._keep(poison)
        items, statement_writes = self._without_repeats(unapplied.items)
        groups = group_items(items, unapplied.paid)
        cache = self._cache
        if cache.begin_batch():
            # dropped profiles are read again, so their last writes must be done
            self._committer.settled()
        slots = [cache.slots(group.view.entity, group.columns.ids) for group in groups]
        read_missing(self._client, self._leases, partitions, cache)
        writes = [self._updated(group, where) for group, where in zip(groups, slots, strict=True)]
        commit = commit_of(
            chunk,
            [
                *writes,
                *statement_writes,
                *applied_writes(applied),
                *self._marks.writes(chunk.topic, chunk.records),
            ],
            "entities",
            started,
        )
        done = self._committer.end(commit)
        self._applied.update(applied)
        for group in groups:
            # payments only: labels are about payments of days ago
            paid = group.columns.payments["event_ms"][group.columns.kinds == PAID]
            if len(paid):
                say_staleness(group.view.entity, int(paid.max()))
        return done

    def _updated(self, group: Group, slots: Slots) -> Packed:
        """Apply a group's updates; returns the command that writes the changed profiles."""
        arena, places = self._cache.profiles_of(group.view, slots)
        apply_columns(group.columns, places, arena)
        return self._cache.write(group.view, np.unique(slots))

    def _without_repeats(self, items: list[Placed]) -> tuple[list[Placed], list[Command]]:
        """Updates without duplicate label statements, labels converted to changes; and the writes that store the new statements.

        Only this partition's writer writes statements; a worker that lost the partition is stopped by its epoch.
        """
        keys = list(dict.fromkeys(key for placed in items if (key := statement_key(placed.item)) is not None))
        if not keys:
            return items, []
        if len(self._unwritten) > MAX_UNWRITTEN:
            self._committer.settled()
        if self._committer.idle:
            self._unwritten.clear()
        partitions = self._cache.partitions
        (stored,) = self._client.with_retry([("MGET", *(_key_of(key, partitions) for key in keys))])
        known = {key: _statement(raw) for key, raw in zip(keys, stored, strict=True)}
        known.update((key, self._unwritten[key]) for key in keys if key in self._unwritten)
        unapplied, changed = without_repeats(items, known)
        self._unwritten.update(changed)
        if len(unapplied) < len(items):
            DUPLICATES.labels("entities").inc(len(items) - len(unapplied))
        return unapplied, label_statement_writes(changed, partitions)


#: seconds that a label statement is stored: as long as the labels worker's index keeps the transaction
LABEL_STATEMENT_FOR_S = 60 * 86_400


def label_statement_writes(changed: dict[StatementKey, Statement], partitions: int) -> list[Command]:
    """Commands that store label statements."""
    return [
        (
            "SET", _key_of(key, partitions), f"{k.label_time_ms}:{k.offset}:{k.frauds}", "EX", LABEL_STATEMENT_FOR_S,
        )
        for key, k in changed.items()
    ]  # fmt: skip


def _key_of(key: StatementKey, partitions: int) -> str:
    return label_statement_key(entity_partition(key.entity, key.entity_id, partitions), ":".join(key))


def _statement(raw: bytes | None) -> Statement | None:
    return Statement(*map(int, raw.split(b":"))) if raw else None


class PlacedPaid(NamedTuple):
    """The payments of one record, with its index in the chunk and its offset."""

    order: int
    offset: int
    paid: Paid


class Unapplied(NamedTuple):
    """The updates of a chunk that are not applied yet, in order."""

    items: list[Placed]
    paid: list[PlacedPaid]


def sort_items(
    chunk: Chunk, applied: dict[int, SourceOffsets[Source]], source_end: SourceEnd
) -> tuple[Unapplied, list[tuple[Any, InvalidEvent]]]:
    """The updates that are not applied yet, and the records that cannot be read. Advances ``applied``."""
    unapplied = Unapplied([], [])
    poison: list[tuple[Any, InvalidEvent]] = []
    for order, record in enumerate(chunk.records):
        try:
            batch, paid = _checked(record.value)
        except UNREADABLE as error:
            poison.append((record, InvalidEvent("poison", "", f"not a record of entity items: {error}")))
            continue
        source = (batch.source_topic, batch.source_partition)
        sources = applied[record.partition]
        known = sources.of(source)
        try:
            check_offset(topic_of(source[0]), source[1], _newest_of(batch, paid), known, source_end)
        except ImpossibleOffset as error:
            poison.append((record, InvalidEvent("offset", "", str(error))))
            continue
        items, newest = unapplied_items(batch.items, known)
        unapplied.items.extend(Placed(order, record.offset, item) for item in items)
        repeated = len(batch.items) - len(items)
        if paid is not None:
            new, newest_paid = unapplied_paid(paid, known)
            newest = max(newest, newest_paid)
            repeated += len(paid.ids) - len(new.ids)
            if new.ids:
                unapplied.paid.append(PlacedPaid(order, record.offset, new))
        sources.see(source, newest)
        if repeated:
            DUPLICATES.labels("entities").inc(repeated)
    return unapplied, poison


def _newest_of(batch: EntityItems, paid: Paid | None) -> int:
    """The highest source offset that a record claims for updates that are known by it; -1 if there are none."""
    newest = max((item.offset for item in batch.items if item.said is None), default=-1)
    if paid is None or not len(paid.payments):
        return newest
    return max(newest, int(paid.payments["offset"].max()))


def _checked(value: bytes) -> tuple[EntityItems, Paid | None]:
    batch = decode_items(value)
    if topic_of(batch.source_topic) not in _SOURCES:
        raise ValueError(f"no updates come from {batch.source_topic[:64]}")
    for item in batch.items:
        view_of(item)
        if not item.entity_id:
            raise ValueError("an item without an id")
    return batch, None if batch.paid is None else unpack_paid(batch.paid)


class Group(NamedTuple):
    """A chunk's updates of one view, in order."""

    view: View
    columns: Columns


def group_items(items: Sequence[Placed], paid: Sequence[PlacedPaid]) -> list[Group]:
    """Updates grouped by the view that they change, in the order of their records."""
    parts: dict[View, list[tuple[npt.NDArray[np.int64], Columns]]] = {}
    by_view: dict[View, list[Placed]] = {}
    for placed in items:
        by_view.setdefault(view_of(placed.item), []).append(placed)
    for view, some in by_view.items():
        columns = columns_of_items([p.item for p in some], [p.offset for p in some])
        parts[view] = [(np.array([p.order for p in some], dtype=np.int64), columns)]
    if paid:
        together, orders, offsets = _together(paid)
        for kind, entity in enumerate(PAID_ENTITIES):
            chosen = np.flatnonzero(together.kinds == kind)
            if len(chosen):
                columns = columns_of_paid(together, chosen, offsets)
                parts.setdefault(PAYMENTS_OF[entity], []).append((orders[chosen], columns))
    return [Group(view, _merged(some)) for view, some in parts.items()]


def _together(paid: Sequence[PlacedPaid]) -> tuple[Paid, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The payments of all records as one, and for each update the index and offset of its record."""
    sizes = [len(p.paid.ids) for p in paid]
    whole = Paid(
        np.concatenate([p.paid.payments for p in paid]),
        np.concatenate([p.paid.cards for p in paid]),
        np.concatenate([p.paid.kinds for p in paid]),
        [name for p in paid for name in p.paid.ids],
    )
    return whole, np.repeat([p.order for p in paid], sizes), np.repeat([p.offset for p in paid], sizes)


def _merged(parts: list[tuple[npt.NDArray[np.int64], Columns]]) -> Columns:
    """All updates of one view, structs and columns, in the order of their records."""
    if len(parts) == 1:
        return parts[0][1]
    order = np.argsort(np.concatenate([orders for orders, _ in parts]), kind="stable")
    ids = [name for _, columns in parts for name in columns.ids]
    arrays = (
        np.concatenate(arrays)[order] for arrays in zip(*(columns[1:] for _, columns in parts), strict=True)
    )
    return Columns([ids[i] for i in order.tolist()], *arrays)


def applied_writes(applied: dict[int, SourceOffsets[Source]]) -> list[Command]:
    """Commands that store the last applied offset of each source, by partition of `entities`."""
    out: list[Command] = []
    for partition, sources in applied.items():
        for (topic, source), offset in sources.highest.items():
            out.append(("HSET", applied_key(partition), f"{topic}:{source}", offset))
    return out


def _source(name: bytes) -> Source:
    topic, _, partition = name.decode().rpartition(":")
    return topic, int(partition)
