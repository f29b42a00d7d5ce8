"""Join decisions and labels, in either order of arrival. Pure: known state in, records and index writes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from features.store.partitions import entity_partition
from features.transaction import epoch_ms
from models.decision import Decision
from streams.contracts.label import Label
from streams.contracts.outcome import Outcome
from streams.log.records import DecidedEntities, EntityItem, LabelStatement


class StoredLabel(msgspec.Struct, array_like=True, frozen=True):
    """The newest label of a transaction, as stored in the index; ``offset`` is the label's own on `labels`."""

    label: Label
    offset: int
    #: whether this label or an earlier one was fraud
    ever_fraud: bool


@dataclass(frozen=True)
class KnownDecision:
    """A transaction's decision and, if known, its merchant, device, ip and customer."""

    decision: Decision
    entities: DecidedEntities | None


@dataclass(frozen=True)
class CardOutcome:
    """An outcome and the record of the chunk that completed it; it goes to the same partition."""

    partition: int
    offset: int
    card_id: str
    outcome: Outcome


@dataclass
class Joined:
    """The results of one chunk: outcomes, entity updates by (source partition, partition of `entities`), index writes."""

    outcomes: list[CardOutcome] = field(default_factory=list)
    items: dict[tuple[int, int], list[EntityItem]] = field(default_factory=dict)
    labels: dict[str, StoredLabel] = field(default_factory=dict)
    repeated: int = 0


class Join:
    """Joins one chunk. ``decisions`` and ``labels`` are what the index holds, by identity."""

    def __init__(
        self, decisions: Mapping[str, KnownDecision], labels: Mapping[str, StoredLabel], partitions: int
    ) -> None:
        self._decisions = decisions
        self._labels = dict(labels)
        self._partitions = partitions
        self.joined = Joined()

    def label(self, label: Label, partition: int, offset: int) -> None:
        """Handle a label: update its entities, and pair it with its decision if that is known."""
        stored = self._labels.get(label.identity)
        before = stored.label if stored else None
        if before is not None and before.label == label.label:
            self.joined.repeated += 1
            return
        if before is not None and before.label_time > label.label_time:
            # an older label that arrives late does not replace a newer one
            self.joined.repeated += 1
            return
        ever_fraud = label.label == "fraud" or (stored is not None and stored.ever_fraud)
        now = StoredLabel(label, offset, ever_fraud)
        self._labels[label.identity] = now
        self.joined.labels[label.identity] = now
        decision = self._decisions.get(label.identity)
        if ever_fraud:
            known = decision.entities if decision else None
            self._count(now, known, partition, offset, own=True)
        if decision is not None:
            self._pair(label, decision, partition, offset)

    def decision(self, decision: KnownDecision, partition: int, offset: int) -> None:
        """Handle a decision: a decline counts for its card and customer; an early label is paired with it."""
        if decision.decision.decision == "decline":
            self._declined(decision, partition, offset)
        stored = self._labels.get(decision.decision.identity)
        if stored is None:
            return
        if stored.ever_fraud and decision.entities is not None:
            # also if the fraud was withdrawn: before a crash the decision may have been first and the fraud been counted
            self._count(stored, decision.entities, partition, offset, own=False)
        self._pair(stored.label, decision, partition, offset)

    def _declined(self, known: KnownDecision, partition: int, offset: int) -> None:
        decision = known.decision
        customer = known.entities.customer_id if known.entities else None
        for entity, entity_id in (("card", decision.card_id), ("customer", customer)):
            if entity_id:
                item = EntityItem(
                    entity, entity_id, "declined", offset, epoch_ms(decision.event_time), 0, 0, 0
                )
                self._send(item, partition)

    def _pair(self, label: Label, known: KnownDecision, partition: int, offset: int) -> None:
        outcome = Outcome(
            decision=known.decision,
            label=label.label,
            label_time=label.label_time,
            source=label.source,
            merchant_id=label.merchant_id,
        )
        self.joined.outcomes.append(CardOutcome(partition, offset, label.card_id, outcome))

    def _count(
        self,
        stored: StoredLabel,
        known: DecidedEntities | None,
        partition: int,
        offset: int,
        *,
        own: bool,
    ) -> None:
        """Send label statements, by event time: for the label's card and merchant (``own``) and the decision's other entities.

        A statement says what is true now, not what changed: whether the label or the decision completes a pair depends on the
        order of arrival, and after a crash that may be different.
        """
        label = stored.label
        entities: list[tuple[str, str | None]] = []
        if own:
            entities += [("card", label.card_id), ("merchant", label.merchant_id)]
        if known is not None:
            entities += [("device", known.device_id), ("ip", known.ip), ("customer", known.customer_id)]
        event_ms, fraud = epoch_ms(label.event_time), int(label.label == "fraud")
        said = LabelStatement(label.identity, epoch_ms(label.label_time), stored.offset)
        for entity, entity_id in entities:
            if entity_id:
                item = EntityItem(entity, entity_id, "label", offset, event_ms, 0, 0, fraud, None, said)
                self._send(item, partition)

    def _send(self, item: EntityItem, partition: int) -> None:
        target = entity_partition(item.entity, item.entity_id, self._partitions)
        self.joined.items.setdefault((partition, target), []).append(item)
