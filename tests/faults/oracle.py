"""Compares what the log requires with what exists: transactions, features, entity updates, profiles, decisions, labels.

The oracle is a single process without faults: the serving kernels, fed from the beginning of the log in offset order, with
each transaction id once. It continues from round to round, so that a round reads only its own records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from features.catalogue import WIDTH
from features.kernels.columns import columns_of
from features.kernels.payer import APPLY, CARD_COLUMNS, payer_features
from features.store.redis_client import RespClient
from features.store.views import CARD_STATE, View
from features.transaction import Transaction
from streams.contracts.label import parse_label
from streams.log.outcome_source import source_of
from streams.log.records import EntityItem, decode_items
from streams.log.topics import DECISIONS, ENTITIES, FEATURES, LABELS, OUTCOMES, TRANSACTIONS
from streams.processor.entity_updates import (
    Statement,
    StatementKey,
    apply,
    newer_statement,
    statement_key,
    view_of,
)
from streams.processor.intake import AcceptedRow, sort_out
from streams.processor.payment_updates import unapplied_of
from streams.runtime.kafka.log_reader import LogRow, Span, end_of, read_span
from streams.runtime.settings import Settings
from tests.faults.findings import Findings
from tests.faults.profiles import Profiles
from tests.support.feature_batches import rows_in

APPLIED_AT_ONCE = 2_000


class _Decided(msgspec.Struct):
    transaction_id: str
    card_id: str
    decision: str


_decided = msgspec.json.Decoder(_Decided)


class Oracle:
    """Reads the log from its last position and compares."""

    def __init__(self, settings: Settings, *, scoring: bool) -> None:
        self._settings = settings
        self._scoring = scoring
        self._client = RespClient(settings.redis_address)
        topics = [TRANSACTIONS.name, ENTITIES.name, FEATURES.name, LABELS.name]
        self._topics = [*topics, DECISIONS.name, OUTCOMES.name] if scoring else topics
        self._read: Span = {topic: {} for topic in self._topics}
        self._profiles: dict[str, Profiles] = {}
        self._ids: set[str] = set()
        #: (source topic, partition of `entities`, source partition) -> last offset applied
        self._applied: dict[tuple[str, int, int], int] = {}
        self._said: dict[StatementKey, Statement] = {}
        self._last_features: dict[int, int] = {}
        # open entries: +1 expected, -1 found; removed at 0
        self._items: Counter[tuple[Any, ...]] = Counter()
        self._features: Counter[tuple[int, int, str]] = Counter()
        self._decisions: Counter[str] = Counter()
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._sources: set[Any] = set()
        self._labelled: set[tuple[str, str]] = set()
        self._entities: dict[str, Transaction] = {}
        self._decided: set[str] = set()

    def look(self, sent: Sequence[str], *, everything: bool = False) -> Findings:
        """Read the new records and compare them with the transactions sent and with the store.

        Call it only when all workers are idle: records in flight would count as missing. ``everything`` compares every
        profile, not only those that changed.

        Raises:
            LedgerUnreachable, StoreUnavailable: Kafka or Redis does not answer.
        """
        found = Findings(transactions=len(sent))
        ends = end_of(self._settings.kafka, self._topics)
        for topic, take in (
            (TRANSACTIONS.name, self._take_transactions),
            (FEATURES.name, self._take_features),
            (DECISIONS.name, self._take_decisions),
            (LABELS.name, self._take_labels),
            (ENTITIES.name, self._take_entities),
            (OUTCOMES.name, self._take_outcomes),
        ):
            if topic in ends:
                span = {topic: ends[topic]}
                by_partition: dict[int, list[Any]] = {}
                # partitions interleave at random; within one the order is that of the log
                read_span(self._settings.kafka, {topic: self._read[topic]}, span, partial(_sort, by_partition), stall_s=60)  # fmt: skip
                take(by_partition, found)
                self._read[topic] = ends[topic]
        self._settle(sent, found)
        for profiles in self._profiles.values():
            profiles.compare(self._client, found, everything=everything)
        return found

    def _take_transactions(self, records: dict[int, list[Any]], _found: Findings) -> None:
        for partition, batch in records.items():
            rows = [LogRow(partition, r.offset(), r.timestamp()[1], r.value(), r.headers()) for r in batch]
            unapplied: list[AcceptedRow] = []
            for event in sort_out(rows, self._settings.partitions, 0).accepted.rows():
                tx = event.transaction
                if tx.transaction_id not in self._ids:
                    self._ids.add(tx.transaction_id)
                    unapplied.append(event)
                    self._expect(event)
            self._apply_cards(unapplied)

    def _expect(self, event: AcceptedRow) -> None:
        tx = event.transaction
        self._features[(event.partition, event.offset, tx.transaction_id)] += 1
        if self._scoring:
            self._decisions[tx.transaction_id] += 1
        self._entities[tx.transaction_id] = tx
        for entity, name in _named(tx):
            self._items[("tx", event.partition, event.offset, entity, name)] += 1

    def _apply_cards(self, events: list[AcceptedRow]) -> None:
        cards = self._of(CARD_STATE)
        for first in range(0, len(events), APPLIED_AT_ONCE):
            part = events[first : first + APPLIED_AT_ONCE]
            transactions = [event.transaction for event in part]
            columns = columns_of(transactions, [e.event_ms for e in part], [e.offset for e in part])
            slots = np.array(cards.slots_of([tx.card_id for tx in transactions]), dtype=np.int64)
            unused = np.empty((len(part), WIDTH), dtype=np.float32)
            payer_features(
                columns, slots, cards.arena, APPLY, CARD_COLUMNS, unused, np.zeros(len(part), np.uint8)
            )
            cards.touched.update(tx.card_id for tx in transactions)

    def _take_features(self, records: dict[int, list[Any]], found: Findings) -> None:
        for partition, batch in records.items():
            for made in rows_in(record.value() for record in batch):
                # scoring's rule: nothing at or below the last source offset counts
                if made.offset <= self._last_features.get(partition, -1):
                    continue
                self._last_features[partition] = made.offset
                found.counted += 1
                self._features[(made.partition, made.offset, made.transaction.transaction_id)] -= 1

    def _take_entities(self, records: dict[int, list[Any]], _found: Findings) -> None:
        for partition, batch in records.items():
            for record in batch:
                items = decode_items(record.value())
                source = (items.source_topic, partition, items.source_partition)
                unapplied, self._applied[source] = unapplied_of(items, self._applied.get(source, -1))
                unapplied = [item for item in map(self._without_repeats, unapplied) if item is not None]
                self._apply_items(unapplied, record.offset())
                for item in unapplied:
                    self._pay_off(item, items.source_partition)

    def _without_repeats(self, item: EntityItem) -> EntityItem | None:
        key = statement_key(item)
        if key is None:
            return item
        newer = newer_statement(item, self._said.get(key))
        if newer is None:
            return None
        changed, self._said[key] = newer
        return changed

    def _pay_off(self, item: EntityItem, source: int) -> None:
        if item.kind == "tx":
            self._items[("tx", source, item.offset, item.entity, item.entity_id)] -= 1
        elif self._scoring:
            change = 1 if item.kind == "declined" else item.frauds
            self._items[(item.kind, item.entity, item.entity_id)] -= change

    def _apply_items(self, items: list[EntityItem], offset: int) -> None:
        by_view: dict[str, list[EntityItem]] = {}
        for item in items:
            by_view.setdefault(view_of(item).name, []).append(item)
        for part in by_view.values():
            profiles = self._of(view_of(part[0]))
            names = [item.entity_id for item in part]
            apply(part, profiles.slots_of(names), [offset] * len(part), profiles.arena)
            profiles.touched.update(names)

    def _take_decisions(self, records: dict[int, list[Any]], _found: Findings) -> None:
        for batch in records.values():
            for record in batch:
                made = _decided.decode(record.value())
                self._decisions[made.transaction_id] -= 1
                if made.transaction_id in self._decided:
                    continue
                self._decided.add(made.transaction_id)
                tx = self._entities.get(made.transaction_id)
                if tx is not None and made.decision == "decline":
                    self._items[("declined", "card", tx.card_id)] += 1
                    if tx.customer_id:
                        self._items[("declined", "customer", tx.customer_id)] += 1

    def _take_labels(self, records: dict[int, list[Any]], _found: Findings) -> None:
        """Labels of a round are sent once or repeated, never corrected: each counts once."""
        if not self._scoring:
            return
        for batch in records.values():
            for record in batch:
                label = parse_label(record.value())
                said = (label.transaction_id, label.label)
                tx = self._entities.get(label.transaction_id)
                if said in self._labelled or tx is None:
                    continue
                self._labelled.add(said)
                self._outcomes[said] += 1
                if label.label == "fraud":
                    for entity, name in (("card", tx.card_id), *_named(tx)):
                        self._items[("label", entity, name)] += 1

    def _take_outcomes(self, records: dict[int, list[Any]], found: Findings) -> None:
        for batch in records.values():
            for record in batch:
                source = source_of(record.headers())
                if source in self._sources:
                    continue
                self._sources.add(source)
                outcome = msgspec.json.decode(record.value())
                self._outcomes[(outcome["decision"]["transaction_id"], outcome["label"])] -= 1

    def _settle(self, sent: Sequence[str], found: Findings) -> None:
        for name in sent:
            if name not in self._ids:
                found.note(f"{name} is not on its card's partition", missing=1)
        owed: tuple[tuple[str, Counter[Any]], ...] = (
            ("features", self._features), ("item", self._items), ("decision", self._decisions),
            ("outcome", self._outcomes),
        )  # fmt: skip
        for what, counter in owed:
            for key, left in counter.items():
                if left > 0:
                    found.note(f"{what} {key}: {left} missing", missing=left)
                elif left < 0:
                    found.note(f"{what} {key}: {-left} too many", doubled=-left)
            # the next round starts without open entries
            counter.clear()
        self._entities.clear()
        self._decided.clear()
        self._labelled.clear()
        self._sources.clear()

    def _of(self, view: View) -> Profiles:
        return self._profiles.setdefault(view.name, Profiles(view, self._settings.partitions))


def _sort(by_partition: dict[int, list[Any]], batch: list[Any]) -> None:
    for record in batch:
        by_partition.setdefault(record.partition(), []).append(record)


def _named(tx: Transaction) -> list[tuple[str, str]]:
    """The entities of a transaction other than its card."""
    named = (
        ("merchant", tx.merchant_id),
        ("device", tx.device_id),
        ("ip", tx.ip),
        ("customer", tx.customer_id),
    )
    return [(entity, name) for entity, name in named if name]
