"""Parity: what decisions were made with, recomputed from the log alone, bit by bit. Pure: records in, verdicts out.

A features record says which state was read (``as_of``). Here that state is built again by the kernels that serve: a
card's profile from its transactions up to an offset, an entity's from its items up to an offset of `entities`, with
the same parsing and the same dropping of repetitions as the processor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.card_kernel import card_features
from features.catalogue import CATALOGUE_HASH, WIDTH
from features.columns import columns_of
from features.entity_kernel import apply_items, entity_features
from features.profiles import CARD, ENTITY, card_state, entity_state, new_arena
from streams.events import Transaction
from streams.missing import blank
from streams.partitioning import entity_partition
from streams.processor.intake import sort_out
from streams.records import EntityItem, FeatureRecord, decode_items

#: (entity, id), with "card" for a card's fraud history
Entity = tuple[str, str]
Row = npt.NDArray[np.float32]


class LogRow(NamedTuple):
    """A record as the processor sees it."""

    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    headers: list[tuple[str, bytes]] | None


@dataclass
class Verdict:
    """Sums over the sample. ``explained``: differences that are proven to be none of the kernels', by reason."""

    compared: int = 0
    identical: int = 0
    explained: dict[str, int] = field(default_factory=dict)
    unexplained: int = 0
    #: (partition, offset) on `transactions` of what is unexplained, and the columns that differ
    differing: list[tuple[int, int, list[int]]] = field(default_factory=list)

    def explain(self, reason: str) -> None:
        self.explained[reason] = self.explained.get(reason, 0) + 1


def entities_of(sample: FeatureRecord) -> list[tuple[int, Entity, int]]:
    """What a record was made from on `entities`: (kernel slot, entity, offset read up to; -1 for nothing)."""
    tx = sample.transaction
    named = (
        ("merchant", tx.merchant_id),
        ("device", tx.device_id),
        ("ip", tx.ip),
        ("customer", tx.customer_id),
    )
    found = [
        (slot, (entity, name), as_of)
        for slot, ((entity, name), as_of) in enumerate(zip(named, sample.as_of[1:], strict=True))
        if name
    ]
    return [*found, (4, ("card", tx.card_id), sample.frauds_as_of)]


class Evidence:
    """What the log says about the sampled cards and entities; fed with records in offset order per partition."""

    def __init__(self, samples: Sequence[FeatureRecord], partitions: int) -> None:
        self._partitions = partitions
        self._cards: dict[tuple[int, str], list[tuple[int, Transaction]]] = {
            (sample.partition, sample.transaction.card_id): [] for sample in samples
        }
        self._items: dict[Entity, list[tuple[int, EntityItem]]] = {
            entity: [] for sample in samples for _, entity, _ in entities_of(sample)
        }
        # highest source offset applied, per partition of `entities` and source
        self._applied: dict[tuple[int, str, int], int] = {}

    def add_transactions(self, rows: Iterable[LogRow]) -> None:
        """Keep what the processor accepted of the sampled cards."""
        for event in sort_out(rows, self._partitions, 0).accepted:
            card = self._cards.get((event.partition, event.transaction.card_id))
            if card is not None:
                card.append((event.offset, event.transaction))

    def add_entities(self, partition: int, offset: int, value: bytes) -> None:
        """Keep the items of the sampled entities that were not applied before."""
        batch = decode_items(value)
        source = (partition, batch.source_topic, batch.source_partition)
        known = self._applied.get(source, -1)
        for item in batch.items:
            if item.offset <= known:
                continue
            self._applied[source] = item.offset
            kept = self._items.get((item.entity, item.entity_id))
            if kept is not None:
                kept.append((offset, item))

    def recompute(self, samples: Sequence[FeatureRecord]) -> Row:
        """The features of the samples from this evidence; float32 (n, WIDTH)."""
        n = len(samples)
        out = np.full((n, WIDTH), np.nan, dtype=np.float32)
        if not n:
            return out
        cards = new_arena(CARD, n)
        entities = new_arena(ENTITY, 5 * n)
        slots = np.full((n, 5), -1, dtype=np.int64)
        for i, sample in enumerate(samples):
            cards[i] = self._card_at(sample)
            for kind, entity, as_of in entities_of(sample):
                slots[i, kind] = 5 * i + kind
                entities[5 * i + kind] = self._entity_at(entity, as_of)
        columns = columns_of(
            [sample.transaction for sample in samples], [sample.event_ms for sample in samples], [-1] * n
        )
        seen = np.zeros(n, dtype=np.uint8)
        card_features(columns, np.arange(n, dtype=np.int64), card_state(cards), False, out, seen)
        entity_features(columns.event_ms, slots, entity_state(entities), out)
        for row, sample in zip(out, samples, strict=True):
            blank(row, sample.missing)
        return out

    def _card_at(self, sample: FeatureRecord) -> Any:
        """The card's profile with its transactions up to ``as_of``; one record of CARD."""
        arena = new_arena(CARD, 1)
        history = self._cards[(sample.partition, sample.transaction.card_id)]
        events = [(offset, tx) for offset, tx in history if offset <= sample.as_of[0]]
        if events:
            columns = columns_of(
                [tx for _, tx in events], [tx.event_ms for _, tx in events], [offset for offset, _ in events]
            )
            n = len(events)
            unused = np.empty((n, WIDTH), dtype=np.float32)
            card_features(
                columns, np.zeros(n, np.int64), card_state(arena), True, unused, np.zeros(n, np.uint8)
            )
        return arena[0]

    def _entity_at(self, entity: Entity, as_of: int) -> Any:
        """The entity's profile with its items up to an offset of `entities`; one record of ENTITY."""
        arena = new_arena(ENTITY, 1)
        items = [(offset, item) for offset, item in self._items[entity] if offset <= as_of]
        if items:
            apply_items(
                np.zeros(len(items), np.int64),
                np.array([offset for offset, _ in items], dtype=np.int64),
                np.array([item.kind == "label" for _, item in items], dtype=np.bool_),
                np.array([item.event_ms for _, item in items], dtype=np.int64),
                np.array([item.amount_minor for _, item in items], dtype=np.int64),
                np.array([item.card_hash for _, item in items], dtype=np.uint32),
                np.array([item.frauds for _, item in items], dtype=np.int64),
                entity_state(arena),
            )
        return arena[0]


def judge(
    samples: Sequence[FeatureRecord],
    evidence: Evidence,
    partitions: int,
    first_transactions: Mapping[int, int],
    first_entities: Mapping[int, int],
) -> Verdict:
    """Compare served vectors with recomputed ones, NaN equal to NaN.

    Args:
        partitions: partition count of `transactions` and `entities`.
        first_transactions, first_entities: first offset kept of each partition; above 0 the log was truncated.
    """
    verdict = Verdict(compared=len(samples))
    rows = evidence.recompute(samples)
    for row, sample in zip(rows, samples, strict=True):
        if sample.catalogue != CATALOGUE_HASH:
            verdict.explain("other_catalogue")
            continue
        served = np.frombuffer(sample.vector, dtype="<f4")
        differs = served.view(np.uint32) != row.view(np.uint32)
        differs &= ~(np.isnan(served) & np.isnan(row))
        if not differs.any():
            verdict.identical += 1
        elif first_transactions.get(sample.partition, 0) > 0 or any(
            first_entities.get(entity_partition(*entity, partitions), 0) > 0
            for _, entity, _ in entities_of(sample)
        ):
            verdict.explain("log_truncated")
        else:
            verdict.unexplained += 1
            verdict.differing.append((sample.partition, sample.offset, np.flatnonzero(differs).tolist()))
    return verdict
