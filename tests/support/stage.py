"""A little world in memory: payments, chunks, crashes and labels in any order, and its rows judged by parity."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import timedelta

import numpy as np

from features.catalogue import WIDTH
from features.store.partitions import entity_partition, partitions_of
from features.store.profiles.batch import Gather
from features.transaction import Transaction, from_ms
from services.scoring.decision.decider import Case, Decider
from services.scoring.edge.decide_round import compute
from services.scoring.edge.entries import entries_of
from streams.audit.parity.recompute import Evidence, Verdict, judge
from streams.audit.parity.sample import Reservoir
from streams.contracts.text.json_encoding import encode
from streams.log.decision_index import IndexedDecision, IndexWriter, Row
from streams.log.feature_batch import FeatureRecord
from streams.log.other_catalogues import Layouts
from streams.log.records import HEADER_DECIDED, EntityItem, EntityItems, LabelStatement, encode_items
from streams.runtime.kafka.log_reader import LogRow
from tests.support.catalogue_samples import UNKNOWN
from tests.support.edge_keys import KEYS
from tests.support.feature_batches import rows_in
from tests.support.parity_world import APPENDED_MS, PARTITIONS, MemoryLog, MemoryRedis, Worker, unbounded

#: the first of these are about to leave the longest window
START = from_ms(APPENDED_MS) - timedelta(days=30, hours=6)


class Stage:
    """A little world: transactions of few cards, some through the edge, some twice, some misplaced or broken."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.log, self.redis = MemoryLog(), MemoryRedis()
        self.worker = Worker(self.log, self.redis)
        self.count = 0
        #: by partition of `features`: records that were looked at, and rows in them
        self.looked_at: Counter[int] = Counter()
        self.indexed: Counter[int] = Counter()
        self.sent: list[Transaction] = []

    def run(self, steps: int) -> None:
        actions = [self.send, self.send, self.send, self.chunk, self.chunk, self.label]
        for _ in range(steps):
            self.random.choice(actions)()
        for _ in range(200):
            if not self.worker.behind():
                return
            self.chunk(crash=False)
        raise AssertionError("the worker does not come to the end of its log")

    def send(self) -> None:
        for _ in range(self.random.randrange(1, 6)):
            if self.sent and self.random.random() < 0.05:
                self._append(self.random.choice(self.sent))
                continue
            tx = self._transaction()
            self.sent.append(tx)
            self._append(tx, self._decided(tx) if self.random.random() < 0.3 else None)
        if self.random.random() < 0.1:
            self.log.produce("transactions", value=b"not json", partition=self.random.randrange(PARTITIONS))

    def chunk(self, crash: bool | None = None) -> None:
        topic = self.random.choice(["transactions", "entities"])
        crash = self.random.random() < 0.1 if crash is None else crash
        self.worker.step(topic, self.random.randrange(1, 8), crash=crash)
        self._index()

    def _index(self) -> None:
        """What gave features is decided, and indexed: a payment like an old one is known by it."""
        for partition in range(PARTITIONS):
            fresh = self.log.topics.get(("features", partition), [])[self.looked_at[partition] :]
            made = rows_in(record.value for record in fresh)
            rows = [
                Row(place, record.transaction.transaction_id, IndexedDecision(b"{}", None))
                for place, record in enumerate(made, self.indexed[partition])
            ]
            if rows:
                self.redis.call(IndexWriter().writes(partition, rows, time.time()))
            self.looked_at[partition] += len(fresh)
            self.indexed[partition] += len(rows)

    def label(self) -> None:
        if not self.sent:
            return
        tx = self.random.choice(self.sent)
        self.count += 1
        # some as older code wrote them, some told twice: by the label and, after a crash, by the decision
        said = (
            LabelStatement(tx.transaction_id, self.random.randrange(5), self.count)
            if self.count % 3
            else None
        )
        fraud = self.random.randrange(2) if said else 1
        for entity, name in (("card", tx.card_id), ("merchant", tx.merchant_id)):
            item = EntityItem(entity, name, "label", self.count, tx.event_ms, 0, 0, fraud, None, said)
            target = entity_partition(entity, name, PARTITIONS)
            for source in ("labels", "decisions") if said else ("labels",):
                value = encode_items(EntityItems(source, 0, [item]))
                self.log.produce("entities", value=value, partition=target)

    def _append(self, tx: Transaction, decided: bytes | None = None) -> None:
        home = int(partitions_of([tx.card_id], PARTITIONS)[0])
        partition = 1 - home if self.random.random() < 0.1 else home
        headers = [(HEADER_DECIDED, decided)] if decided else []
        self.log.produce("transactions", tx.card_id, encode(tx), partition, headers)

    def _decided(self, tx: Transaction) -> bytes:
        return self.decided(tx, partly=self.random.random() < 0.3)

    def decided(self, tx: Transaction, *, partly: bool = False) -> bytes:
        """The edge's own computation on the store as it is now; or without the store, or with what came of it."""
        entries, gather = entries_of([tx], [tx.event_ms], 0.0, 100), Gather([tx])
        replies = self.redis.call(gather.commands(PARTITIONS))
        if partly:
            replies = replies[: self.random.randrange(len(replies))]
        gather.load(replies)
        decider = Decider(clock=lambda: APPENDED_MS / 1000)
        decision = decider.decide(
            [Case(tx, tx.event_ms, APPENDED_MS, 0)], np.zeros((1, WIDTH), np.float32), None
        )[0]
        return compute(entries, gather, len(replies)).headers(
            [0], [encode(decision)], [encode(tx)], KEYS.newest()
        )[0]

    def _transaction(self) -> Transaction:
        pick = self.random
        self.count += 1
        moment = START + timedelta(
            minutes=pick.randrange(5), seconds=self.count * 1000 + pick.randrange(4000)
        )
        return Transaction(
            transaction_id=f"t{self.count}",
            event_time=moment,
            card_id=f"card-{pick.randrange(4)}",
            merchant_id=f"m-{pick.randrange(3)}",
            amount_minor=pick.randrange(1, 20_000),
            currency="EUR",
            device_id=pick.choice([None, "d-1", "d-2"]),
            ip=pick.choice([None, "203.0.113.7"]),
            customer_id=pick.choice([None, "cu-1"]),
            country=pick.choice([None, "FR", "DE"]),
            latitude=pick.choice([None, 48.8]),
            longitude=pick.choice([None, 2.3]),
            channel="ecom",
        )

    def samples(self) -> list[FeatureRecord]:
        reservoir = Reservoir(10_000, 1, unbounded)
        for record in self.log.records("features"):
            reservoir.add(record.value, record.partition)
        return reservoir.records

    def made(self) -> list[FeatureRecord]:
        """All rows of `features`, duplicates too."""
        return rows_in(record.value for record in self.log.records("features"))

    def judged(self, samples: list[FeatureRecord], skip: int = 0, layouts: Layouts = UNKNOWN) -> Verdict:
        evidence = Evidence(samples, PARTITIONS)
        evidence.add_transactions(
            LogRow(r.partition, r.offset, r.timestamp, r.value, r.headers)
            for r in self.log.records("transactions")
            if r.offset >= skip
        )
        for record in self.log.records("entities"):
            evidence.add_entities(
                LogRow(record.partition, record.offset, record.timestamp, record.value, None)
            )
        return judge(samples, evidence, dict.fromkeys(range(PARTITIONS), skip), {}, layouts)
