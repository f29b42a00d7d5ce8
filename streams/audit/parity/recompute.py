"""Parity: recompute the features of decisions from the log alone and compare them bit by bit. Pure: records in, verdicts out.

A features record names the state it was computed from (``as_of``). Here that state is rebuilt with the serving kernels: a
card's profile from its transactions up to an offset, an entity's profile from its updates up to an offset of `entities`. Parsing
and deduplication are those of the processor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import WIDTH
from features.feature import Source
from features.kernels.columns import columns_of
from features.kernels.payer import APPLY, CARD_COLUMNS, payer_features
from features.profile.records import PAYER, new_arena
from features.store.partitions import entity_partition
from features.store.profiles.batch import Gather
from features.store.views import FRAUDS_OF, PAYMENTS_OF, View
from features.transaction import Transaction
from streams.audit.bits import differing
from streams.audit.parity.truncation import Kept, cut_before, cut_columns, in_another_order
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.log.feature_batch import FeatureRecord
from streams.log.missing_inputs import blank
from streams.log.offsets.source_offsets import SourceOffsets
from streams.log.other_catalogues import Layouts, aligned_rows
from streams.log.records import EntityItem, decode_items
from streams.log.topics import ENTITIES, TRANSACTIONS
from streams.processor.entity_updates import (
    Statement,
    StatementKey,
    apply,
    newer_statement,
    statement_key,
    view_of,
)
from streams.processor.intake import sort_out
from streams.processor.payment_updates import unapplied_of
from streams.runtime.kafka.log_reader import LogRow

#: (entity, id); "card" means a card's fraud history
Entity = tuple[str, str]
Row = npt.NDArray[np.float32]
#: later than any time: without a record, the log proves nothing
_NEVER = np.iinfo(np.int64).max


#: the profiles read for each slot of ``entities_of``
SOURCES_OF: tuple[tuple[Source, ...], ...] = (
    ("merchant",), ("device",), ("ip",), ("customer", "customer_frauds"), ("card_frauds",),
)  # fmt: skip


@dataclass
class Verdict:
    """Sums over the sample. ``explained``: differences proven not to come from the kernels, by reason."""

    compared: int = 0
    identical: int = 0
    explained: dict[str, int] = field(default_factory=dict)
    unexplained: int = 0
    #: unexplained differences: (partition, offset) on `transactions`, and the columns that differ without a reason
    differing: list[tuple[int, int, list[int]]] = field(default_factory=list)

    def explain(self, reason: str) -> None:
        self.explained[reason] = self.explained.get(reason, 0) + 1


def entities_of(sample: FeatureRecord) -> list[tuple[int, Entity, int]]:
    """The state on `entities` that a record used: (kernel slot, entity, offset read up to; -1 for none)."""
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


#: an entity's profile: the entity and the name of the view
Place = tuple[Entity, str]


class Begin(NamedTuple):
    """State at one moment, used as the starting point instead of the log's beginning; without cards' payments.

    ``positions``: by partition of `entities` the first offset not included. ``applied``: highest source offset applied, by
    partition, source topic and source partition.
    """

    profiles: dict[Place, Any]
    positions: dict[int, int]
    applied: dict[tuple[int, str, int], int]


class Evidence:
    """The records about sampled cards and entities, added in offset order per partition."""

    def __init__(
        self,
        samples: Sequence[FeatureRecord],
        partitions: int,
        begin: Begin | None = None,
        tenants: Tenants = ANY_TENANT,
        refused: Mapping[int, Collection[int]] | None = None,
    ) -> None:
        """With ``begin``, records are added from its positions on, and cards' payments are unknown. ``tenants``: whose payments were
        accepted. ``refused``: by partition the offsets that the processor refused for their identity.
        """
        self._refused = refused or {}
        self._identities: set[str] = set()
        self._partitions = partitions
        self._tenants = tenants
        self._begin = begin
        #: entities with label statements after ``begin``: the effect depends on earlier statements, which are unknown
        self.unsure: set[Entity] = set()
        self._cards: dict[tuple[int, str], list[tuple[int, Transaction]]] = {
            (sample.partition, sample.transaction.card_id): [] for sample in samples
        }
        self._items: dict[Entity, list[tuple[int, EntityItem]]] = {
            entity: [] for sample in samples for _, entity, _ in entities_of(sample)
        }
        # highest source offset applied, per partition of `entities` and source
        self._applied = SourceOffsets(begin.applied if begin else None)
        self._said: dict[StatementKey, Statement] = {}
        # append time of the first record in ms, by topic and partition
        self._began: dict[tuple[str, int], int] = {}

    def add_transactions(self, rows: Iterable[LogRow]) -> None:
        """Keep the transactions of sampled cards that the processor accepted."""
        records = list(rows)
        for row in records:
            self._began.setdefault((TRANSACTIONS.name, row.partition), row.timestamp)
        for event in sort_out(records, self._partitions, 0, tenants=self._tenants).accepted.rows():
            card = self._cards.get((event.partition, event.transaction.card_id))
            tx = event.transaction
            if (
                card is not None
                and tx.identity not in self._identities
                and event.offset not in self._refused.get(event.partition, ())
            ):
                self._identities.add(tx.identity)
                card.append((event.offset, tx))

    def add_entities(self, row: LogRow) -> None:
        """Keep the updates of sampled entities that were not applied before."""
        partition, offset = row.partition, row.offset
        self._began.setdefault((ENTITIES.name, partition), row.timestamp)
        batch = decode_items(row.value or b"")
        source = (partition, batch.source_topic, batch.source_partition)
        unapplied, newest = unapplied_of(batch, self._applied.of(source), self._items)
        self._applied.see(source, newest)
        for item in unapplied:
            kept = self._items[(item.entity, item.entity_id)]
            key = statement_key(item)
            if key is None:
                kept.append((offset, item))
            elif self._begin is not None:
                self.unsure.add((item.entity, item.entity_id))
            elif (newer := newer_statement(item, self._said.get(key))) is not None:
                changed, self._said[key] = newer
                kept.append((offset, changed))

    def recompute(self, samples: Sequence[FeatureRecord]) -> Row:
        """The features of the samples, computed from these records; float32 (n, WIDTH)."""
        if not samples:
            return np.empty((0, WIDTH), dtype=np.float32)
        # one row at a time: each sample read its entities at its own offsets
        return np.concatenate([self._row(sample) for sample in samples])

    def kept(
        self, sample: FeatureRecord, first_transactions: Mapping[int, int], first_entities: Mapping[int, int]
    ) -> dict[Source, Kept]:
        """What the log still holds of each profile that a sample used; first offsets as in ``judge``."""
        card = self._cards[(sample.partition, sample.transaction.card_id)]
        moments = [tx.event_ms for offset, tx in card if offset <= sample.as_of[0]]
        cut_ms = self._cut_ms(TRANSACTIONS.name, sample.partition, first_transactions)
        out: dict[Source, Kept] = {"card": Kept(cut_ms, np.array(moments, dtype=np.int64))}
        for slot, entity, as_of in entities_of(sample):
            cut_ms = self._cut_ms(ENTITIES.name, entity_partition(*entity, self._partitions), first_entities)
            for source in SOURCES_OF[slot]:
                moments = [i.event_ms for o, i in self._items[entity] if o <= as_of and i.kind == "tx"]
                out[source] = Kept(cut_ms, np.array(moments, dtype=np.int64))
        return out

    def _cut_ms(self, topic: str, partition: int, first: Mapping[int, int]) -> int | None:
        if first.get(partition, 0) == 0:
            return None
        began = self._began.get((topic, partition))
        return _NEVER if began is None else cut_before(began)

    def _row(self, sample: FeatureRecord) -> Row:
        tx = sample.transaction
        gather = Gather([tx])
        gather.cards[0] = self._card_at(sample)
        gather.frauds[0] = self._entity_at(("card", tx.card_id), FRAUDS_OF["card"], sample.frauds_as_of)
        for slot, entity, as_of in entities_of(sample):
            if entity[0] == "customer":
                gather.customers[0] = self._entity_at(entity, PAYMENTS_OF["customer"], as_of)
                gather.frauds[1] = self._entity_at(entity, FRAUDS_OF["customer"], as_of)
            elif entity[0] != "card":
                place = gather.shared_entity_slots[0, slot]
                gather.shared_entities[place] = self._entity_at(entity, PAYMENTS_OF[entity[0]], as_of)
        rows, _ = gather.compute(columns_of([tx], [sample.event_ms], [-1]), apply=False)
        blank(rows[0], sample.missing)
        return rows

    def _card_at(self, sample: FeatureRecord) -> Any:
        """The card's profile after its transactions up to ``as_of``; one record of PAYER."""
        arena = new_arena(PAYER, 1)
        history = self._cards[(sample.partition, sample.transaction.card_id)]
        events = [(offset, tx) for offset, tx in history if offset <= sample.as_of[0]]
        if events:
            columns = columns_of(
                [tx for _, tx in events], [tx.event_ms for _, tx in events], [offset for offset, _ in events]
            )
            n = len(events)
            unused = np.empty((n, WIDTH), dtype=np.float32)
            slots, seen = np.zeros(n, np.int64), np.zeros(n, np.uint8)
            payer_features(columns, slots, arena, APPLY, CARD_COLUMNS, unused, seen)
        return arena[0]

    def _entity_at(self, entity: Entity, view: View, as_of: int) -> Any:
        """The entity's profile in a view after its updates up to an offset of `entities`; one record."""
        arena = new_arena(view.dtype, 1)
        if self._begin is not None and (begin := self._begin.profiles.get((entity, view.name))) is not None:
            arena[0] = begin
        known = [
            (offset, item)
            for offset, item in self._items[entity]
            if offset <= as_of and view_of(item) is view
        ]
        apply([item for _, item in known], [0] * len(known), [offset for offset, _ in known], arena)
        return arena[0]


def judge(
    samples: Sequence[FeatureRecord],
    evidence: Evidence,
    first_transactions: Mapping[int, int],
    first_entities: Mapping[int, int],
    layouts: Layouts,
) -> Verdict:
    """Compare served vectors with recomputed ones. NaN equals NaN; of another catalogue only the common columns count.

    Args:
        first_transactions, first_entities: first offset kept of each partition. If it is above 0, the log was truncated, and
            differences that this can cause are explained as ``log_truncated`` (``streams.audit.parity.truncation``).
    """
    verdict = Verdict(compared=len(samples))
    rows = evidence.recompute(samples)
    vectors, knowns = aligned_rows(samples, layouts)
    for row, served, sample, known in zip(rows, vectors, samples, knowns, strict=True):
        if known is None:
            verdict.explain("other_catalogue")
            continue
        differs = differing(served, row) & known
        if not differs.any():
            verdict.identical += 1
            continue
        kept = evidence.kept(sample, first_transactions, first_entities)
        differs &= ~(cut_columns(sample.event_ms, kept) | in_another_order(served, row, kept))
        if not differs.any():
            verdict.explain("log_truncated")
        else:
            verdict.unexplained += 1
            verdict.differing.append((sample.partition, sample.offset, np.flatnonzero(differs).tolist()))
    return verdict
