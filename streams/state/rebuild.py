"""Rebuild state from the log: the profiles the processor would have written, by its own parsing and kernels. Pure.

One builder per kind of partition: cards from `transactions`, all other entities from `entities`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.kernels.columns import columns_of
from features.kernels.payer import apply_payments
from features.profile.records import new_arena
from features.store.commands import pack_mset
from features.store.redis_client import Command, Packed, RespClient
from features.store.sweep import day_of
from features.store.views import CARD_STATE, View
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.log.offsets.source_ends import SourceEnd, SourceEnds
from streams.log.offsets.source_offsets import SourceOffsets
from streams.log.refused_identities import refused_identities
from streams.log.topics import TRANSACTIONS
from streams.processor.entities import (
    Source,
    applied_writes,
    group_items,
    label_statement_writes,
    sort_items,
)
from streams.processor.entity_updates import Statement, StatementKey, apply_columns, without_repeats
from streams.processor.identities.blocks import secret
from streams.processor.identities.partition_identities import PartitionIdentities
from streams.processor.intake import Stretch, accepted_only
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.kafka.log_reader import LogRow
from streams.runtime.settings import Settings

#: entities written to Redis at once
ROUND = 500


class Written(NamedTuple):
    """A command that writes some profiles, and their number."""

    command: Packed
    profiles: int


class Arena:
    """Profiles of one view by entity id, in an array that grows; remembers which changed since they were last written."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.slots: dict[str, int] = {}
        self.records = new_arena(view.dtype, 1024)
        self._changed = np.zeros(1024, dtype=np.bool_)

    def places(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """The slots of entities about to change; unknown ones get new slots."""
        slots = self.slots
        found = np.array([slots.setdefault(name, len(slots)) for name in names], dtype=np.int64)
        if len(slots) > len(self.records):
            grown = new_arena(self.records.dtype, max(len(slots), 2 * len(self.records)))
            grown[: len(self.records)] = self.records
            self.records = grown
            self._changed = np.concatenate(
                [self._changed, np.zeros(len(grown) - len(self._changed), np.bool_)]
            )
        self._changed[found] = True
        return found

    def writes(self, partitions: int) -> Iterator[Written]:
        """Commands that write the profiles changed since the last call, ROUND at a time."""
        slots = np.flatnonzero(self._changed)
        self._changed[:] = False
        names = list(self.slots)
        day = day_of(time.time())
        for start in range(0, len(slots), ROUND):
            part = slots[start : start + ROUND]
            own = [names[slot] for slot in part.tolist()]
            yield Written(pack_mset(self.view, own, self.records, part, partitions, day), len(own))


class CardBuilder:
    """Builds the cards of one partition of `transactions` from its records in offset order, and what is known of its identities."""

    def __init__(self, partitions: int, known: PartitionIdentities, tenants: Tenants = ANY_TENANT) -> None:
        self._partitions = partitions
        self._known = known
        self._tenants = tenants
        self.cards = Arena(CARD_STATE)

    def add(self, stretch: Stretch) -> None:
        """Apply the transactions that the processor would have accepted, each identity once."""
        transactions, event_ms, offsets = accepted_only(stretch, self._partitions, self._tenants)
        payments = columns_of(transactions, event_ms, offsets)
        first = self._known.first(transactions, payments)
        slots = self.cards.places(
            [tx.card_id for tx, kept in zip(transactions, first.tolist(), strict=True) if kept]
        )
        apply_payments(payments[first], slots, self.cards.records)

    def identities(self) -> list[Command]:
        """Commands that keep what is known of the partition's identities."""
        return self._known.writes()

    def writes(self) -> Iterator[Written]:
        """Commands that write the cards changed since the last call."""
        yield from self.cards.writes(self._partitions)


class EntityBuilder:
    """Builds merchants, devices, ips, customers and fraud histories of one partition of `entities`."""

    def __init__(self, partition: int, partitions: int, source_end: SourceEnd) -> None:
        self._partitions = partitions
        self._source_end = source_end
        self.applied: dict[int, SourceOffsets[Source]] = {partition: SourceOffsets()}
        self._said: dict[StatementKey, Statement | None] = {}
        self.arenas: dict[View, Arena] = {}

    def add(self, rows: Sequence[LogRow]) -> None:
        """Apply entity updates not applied before. Records that do not parse are skipped; the processor dead-letters them."""
        unapplied, _ = sort_items(Chunk("entities", list(rows)), self.applied, self._source_end)
        items, _ = without_repeats(unapplied.items, self._said)
        for group in group_items(items, unapplied.paid):
            arena = self.arenas.setdefault(group.view, Arena(group.view))
            slots = arena.places(group.columns.ids)
            apply_columns(group.columns, slots, arena.records)

    def writes(self) -> Iterator[Written]:
        """Commands that write the entities changed since the last call."""
        for arena in self.arenas.values():
            yield from arena.writes(self._partitions)

    def said(self) -> list[Command]:
        """Commands that store the label statements, to be written before the position."""
        said = {key: known for key, known in self._said.items() if known is not None}
        return label_statement_writes(said, self._partitions)

    def applied_writes(self) -> list[Command]:
        """Commands that store how far each source is applied, to be written with the position."""
        return applied_writes(self.applied)


def new_builder(
    settings: Settings, client: RespClient, topic: str, partition: int, start: int
) -> CardBuilder | EntityBuilder:
    """The builder of one partition of `transactions` or `entities`, from the offset ``start`` on.

    Raises:
        LedgerUnreachable, StoreUnavailable: the broker or Redis does not answer.
    """
    if topic != TRANSACTIONS.name:
        return EntityBuilder(partition, settings.partitions, SourceEnds(settings.kafka))
    refused = refused_identities(settings.kafka).get(partition, set())
    known = PartitionIdentities(partition, settings.partitions, secret(client), refused)
    if start:
        known.begin_unknown()
    return CardBuilder(settings.partitions, known, settings.known_tenants)


class Done(NamedTuple):
    """One partition, read and written; ``applied``: commands to be written with its position."""

    topic: str
    partition: int
    records: int
    entities: int
    applied: list[Command]
    #: first offset not applied, for ``prepare``, which follows a moving position
    position: int = 0
