"""Decisions meet labels, in whichever order they come. Pure: what is known goes in, what to write and to send comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from streams.events import Decision, Label, Outcome, epoch_ms
from streams.partitioning import entity_partition
from streams.records import DecidedEntities, EntityItem


class StoredLabel(msgspec.Struct, array_like=True, frozen=True):
    """The newest label of a transaction, as the index keeps it."""

    label: Label


@dataclass(frozen=True)
class KnownDecision:
    """A transaction's decision and, where they are known, its merchant, device, ip and customer."""

    decision: Decision
    entities: DecidedEntities | None


@dataclass(frozen=True)
class CardOutcome:
    """One outcome, and the record of the chunk's topic that completed it; it goes to the same partition."""

    partition: int
    offset: int
    card_id: str
    outcome: Outcome


@dataclass
class Joined:
    """What one chunk leads to: outcomes, items by (source partition, partition of `entities`), index writes."""

    outcomes: list[CardOutcome] = field(default_factory=list)
    items: dict[tuple[int, int], list[EntityItem]] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    corrected: int = 0
    repeated: int = 0


class Join:
    """One chunk's worth of joining. ``decisions`` and ``labels`` are what the index knows, by transaction."""

    def __init__(
        self, decisions: Mapping[str, KnownDecision], labels: Mapping[str, Label], partitions: int
    ) -> None:
        self._decisions = decisions
        self._labels = dict(labels)
        self._partitions = partitions
        self.joined = Joined()

    def label(self, label: Label, partition: int, offset: int) -> None:
        """A label arrived: count it for its entities, and pair it with its decision when that is known."""
        before = self._labels.get(label.transaction_id)
        if before is not None and before.label == label.label:
            self.joined.repeated += 1
            return
        if before is not None and before.label_time > label.label_time:
            # an older statement that arrives late does not overrule a newer one
            self.joined.repeated += 1
            return
        self.joined.corrected += before is not None
        self._labels[label.transaction_id] = label
        self.joined.labels[label.transaction_id] = label
        change = int(label.label == "fraud") - int(before is not None and before.label == "fraud")
        decision = self._decisions.get(label.transaction_id)
        if change:
            known = decision.entities if decision else None
            self._count(label, known, change, partition, offset, own=True)
        if decision is not None:
            self._pair(label, decision, partition, offset)

    def decision(self, decision: KnownDecision, partition: int, offset: int) -> None:
        """A decision arrived: a decline counts for its card and customer; a label that came first is paired with it."""
        if decision.decision.decision == "decline":
            self._declined(decision, partition, offset)
        label = self._labels.get(decision.decision.transaction_id)
        if label is None:
            return
        if label.label == "fraud" and decision.entities is not None:
            self._count(label, decision.entities, 1, partition, offset, own=False)
        self._pair(label, decision, partition, offset)

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
        label: Label,
        known: DecidedEntities | None,
        change: int,
        partition: int,
        offset: int,
        *,
        own: bool,
    ) -> None:
        """Frauds by event time for the card and merchant (``own``: named by the label) and whom the decision names."""
        entities: list[tuple[str, str | None]] = []
        if own:
            entities += [("card", label.card_id), ("merchant", label.merchant_id)]
        if known is not None:
            entities += [("device", known.device_id), ("ip", known.ip), ("customer", known.customer_id)]
        event_ms = epoch_ms(label.event_time)
        for entity, entity_id in entities:
            if entity_id:
                self._send(EntityItem(entity, entity_id, "label", offset, event_ms, 0, 0, change), partition)

    def _send(self, item: EntityItem, partition: int) -> None:
        target = entity_partition(item.entity, item.entity_id, self._partitions)
        self.joined.items.setdefault((partition, target), []).append(item)
