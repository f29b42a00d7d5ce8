"""Join decisions and labels, in either order of arrival. Pure: known state in, records and index writes out.

Anybody may send a label, so it counts only once its decision is known and names the same card and merchant; whom else it concerns, and
when the payment was, the decision says. Of a payment's labels the one with the newest ``label_time`` holds (of two with the same, the
later on the log), in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from features.store.partitions import entity_partition
from features.transaction import epoch_ms
from models.decision import Decision
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.label import Label
from streams.contracts.outcome import Outcome
from streams.labels.early_labels import Subject, subject_of
from streams.log.records import DecidedEntities, EntityItem, LabelStatement


class StoredLabel(msgspec.Struct, array_like=True, frozen=True):
    """The newest label of a payment, as stored in the index; ``offset`` is the label's own on `labels`."""

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


class Refusal(NamedTuple):
    """A label that is about no payment there is: its partition and offset on `labels`, and what is wrong."""

    label: Label
    partition: int
    offset: int
    error: InvalidEvent


class Waits(NamedTuple):
    """A label without its decision, and its partition on `labels`."""

    label: Label
    partition: int


@dataclass
class Joined:
    """The results of one chunk: outcomes, entity updates by (source partition, partition of `entities`), index writes."""

    outcomes: list[CardOutcome] = field(default_factory=list)
    items: dict[tuple[int, int], list[EntityItem]] = field(default_factory=dict)
    labels: dict[Subject, StoredLabel] = field(default_factory=dict)
    waiting: list[Waits] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    #: labels that a newer one of the same payment outdates, or that came before
    repeated: list[Label] = field(default_factory=list)


def check_same_payment(label: Label, known: KnownDecision) -> None:
    """Raises: InvalidEvent ``label_mismatch``: the label names another card or merchant than the decision of its transaction."""
    for name, decided in (
        ("card_id", known.decision.card_id),
        ("merchant_id", known.entities and known.entities.merchant_id),
    ):
        # whom the decision does not name is not known
        if decided is not None and decided != getattr(label, name):
            raise InvalidEvent(
                "label_mismatch", name, f"transaction {label.transaction_id} was decided with another {name} than the label names"
            )  # fmt: skip


def _replaces(label: Label, offset: int, stored: StoredLabel) -> bool:
    """Whether a label at an offset of its partition says something newer than the stored one."""
    same = (label.label, label.label_time) == (stored.label.label, stored.label.label_time)
    return not same and (label.label_time, offset) > (stored.label.label_time, stored.offset)


class Join:
    """Joins one chunk. ``decisions`` (by identity) and ``labels`` are what the index holds."""

    def __init__(
        self, decisions: Mapping[str, KnownDecision], labels: Mapping[Subject, StoredLabel], partitions: int
    ) -> None:
        self._decisions = decisions
        self._labels = dict(labels)
        self._partitions = partitions
        self.joined = Joined()

    def label(self, label: Label, partition: int, offset: int) -> None:
        """Handle a label: with its decision it is paired and counts; without, it waits."""
        decision = self._decisions.get(label.identity)
        if decision is not None:
            try:
                check_same_payment(label, decision)
            except InvalidEvent as error:
                self.joined.refused.append(Refusal(label, partition, offset, error))
                return
        subject = subject_of(label)
        stored = self._labels.get(subject)
        if stored is not None and not _replaces(label, offset, stored):
            self.joined.repeated.append(label)
            return
        ever_fraud = label.label == "fraud" or (stored is not None and stored.ever_fraud)
        now = StoredLabel(label, offset, ever_fraud)
        self._labels[subject] = self.joined.labels[subject] = now
        if decision is None:
            self.joined.waiting.append(Waits(label, partition))
        else:
            self._pair(now, decision, partition, offset)

    def decision(self, decision: KnownDecision, early: list[Subject], partition: int, offset: int) -> None:
        """Handle a decision: a decline counts for its card and customer; ``early`` labels are paired with it or refused."""
        if decision.decision.decision == "decline":
            self._declined(decision, partition, offset)
        for subject in early:
            stored = self._labels.get(subject)
            if stored is None:
                continue
            try:
                check_same_payment(stored.label, decision)
            except InvalidEvent as error:
                self.joined.refused.append(Refusal(stored.label, partition, stored.offset, error))
            else:
                self._pair(stored, decision, partition, offset)

    def _declined(self, known: KnownDecision, partition: int, offset: int) -> None:
        decision = known.decision
        customer = known.entities.customer_id if known.entities else None
        for entity, entity_id in (("card", decision.card_id), ("customer", customer)):
            if entity_id:
                item = EntityItem(
                    entity, entity_id, "declined", offset, epoch_ms(decision.event_time), 0, 0, 0
                )
                self._send(item, partition)

    def _pair(self, stored: StoredLabel, known: KnownDecision, partition: int, offset: int) -> None:
        label = stored.label
        outcome = Outcome(
            decision=known.decision,
            label=label.label,
            label_time=label.label_time,
            source=label.source,
            merchant_id=label.merchant_id,
            amount_minor=known.entities.amount_minor if known.entities else None,
            currency=known.entities.currency if known.entities else None,
        )
        self.joined.outcomes.append(CardOutcome(partition, offset, label.card_id, outcome))
        if stored.ever_fraud:
            # also if the fraud was withdrawn: before a crash it may have been counted
            self._count(stored, known, partition, offset)

    def _count(self, stored: StoredLabel, known: KnownDecision, partition: int, offset: int) -> None:
        """Send label statements, by event time, for all entities that the decision names.

        A statement says what is true now, not what changed: whether the label or the decision completes a pair depends on the
        order of arrival, and after a crash that may be different.
        """
        label, named = stored.label, known.entities
        entities: list[tuple[str, str | None]] = [("card", known.decision.card_id)]
        if named is not None:
            entities += [
                ("merchant", named.merchant_id), ("device", named.device_id), ("ip", named.ip), ("customer", named.customer_id),
            ]  # fmt: skip
        event_ms, fraud = epoch_ms(known.decision.event_time), int(label.label == "fraud")
        said = LabelStatement(label.identity, epoch_ms(label.label_time), stored.offset)
        for entity, entity_id in entities:
            if entity_id:
                item = EntityItem(entity, entity_id, "label", offset, event_ms, 0, 0, fraud, None, said)
                self._send(item, partition)

    def _send(self, item: EntityItem, partition: int) -> None:
        target = entity_partition(item.entity, item.entity_id, self._partitions)
        self.joined.items.setdefault((partition, target), []).append(item)
