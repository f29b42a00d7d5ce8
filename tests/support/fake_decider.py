"""The smallest thing that decides: a thread that answers each valid transaction once and dead-letters the others."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import TopicPartition

from features.catalogue import CATALOGUE_HASH
from models.decision import Decision
from streams.audit import end_of
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.json_encoding import encode
from streams.contracts.transaction_parsing import parse_transaction
from streams.log import topics
from streams.runtime.kafka.clients import new_consumer, new_producer


class FakeDecider:
    """A context manager. ``copies(transaction_id)`` says how many decisions one gets: 1 is right, 0 and 2 are faults."""

    def __init__(self, bootstrap: str, copies: Callable[[str], int] = lambda _id: 1) -> None:
        self._bootstrap, self._copies = bootstrap, copies
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.error: BaseException | None = None

    def __enter__(self) -> FakeDecider:
        self._consumer = new_consumer(self._bootstrap, "fake-decider", **{"fetch.wait.max.ms": 10})
        places = [
            TopicPartition("transactions", partition, offset)
            for partition, offset in end_of(self._bootstrap, ["transactions"])["transactions"].items()
        ]
        self._consumer.assign(places)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        self._consumer.close()
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        try:
            producer = new_producer(self._bootstrap, "fake-decider")
            while not self._stop.is_set():
                for record in self._consumer.consume(5_000, timeout=0.02):
                    if record.error() is None:
                        self._answer(producer, record)
                producer.poll(0)
            producer.flush(10)
            producer.close()
        except BaseException as error:  # noqa: BLE001 - raised again by the test's thread
            self.error = error

    def _answer(self, producer: Any, record: Any) -> None:
        try:
            tx = parse_transaction(record.value())
        except InvalidEvent as error:
            dead = {
                "reason": error.reason, "field": error.field, "text": str(error), "source_topic": "transactions",
                "source_partition": record.partition(), "source_offset": record.offset(),
                "first_seen": "2026-11-21T10:15:30Z", "original": base64.b64encode(record.value() or b"").decode(),
            }  # fmt: skip
            producer.produce(topics.DEAD_LETTERS.name, msgspec.json.encode(dead), b"transactions")
            return
        decision = Decision(
            transaction_id=tx.transaction_id, decision="approve", status="scored", score=0.1, reasons=[], model="fraud",
            model_version="1.0.0", policy_version="1", features_version=CATALOGUE_HASH, arm="champion", shadow={}, rules=[],
            event_time=tx.event_time, received_at=tx.event_time, decided_at=tx.event_time, latency_ms=1.0,
            card_id=tx.card_id, tenant=tx.tenant,
        )  # fmt: skip
        for _ in range(self._copies(tx.transaction_id)):
            producer.produce(topics.DECISIONS.name, encode(decision), tx.card_id.encode())
