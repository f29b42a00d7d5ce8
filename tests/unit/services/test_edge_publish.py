"""The edge's publisher: what comes alone goes at once, what follows soon goes with its set, and the queue has an end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.scoring.decision.deadline import PUBLISH_PACE_S
from services.scoring.edge.publishing import publisher as edge_publish
from services.scoring.edge.publishing.publisher import Publisher, QueueFull, SetRecord
from services.scoring.edge.publishing.record_sets import SentSet
from streams.runtime.kafka.broker_loss import BrokersForgotten
from tests.support.waiting import STALL_S

FULL = BufferError("Local: Queue full")
TOO_LARGE = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))


class Producer:
    """librdkafka's, as far as it is used: keeps records, acknowledges when told to."""

    def __init__(self) -> None:
        self.produced: list[tuple[float, bytes, Any]] = []
        self.settled = threading.Event()
        self.queued = 0
        #: raised by ``produce``, and by ``poll``
        self.refuses: Exception | None = None
        self.fails: BaseException | None = None
        #: raised by ``list_topics``
        self.away: Exception | None = None

    def list_topics(self, timeout: float) -> None:
        if self.away is not None:
            raise self.away

    def __len__(self) -> int:
        return self.queued

    def produce(self, topic: str, key: str, value: bytes, headers: Any, on_delivery: Any) -> None:
        if self.refuses is not None and value != b"fine":
            raise self.refuses
        self.produced.append((asyncio.get_running_loop().time(), value, on_delivery))

    def poll(self, timeout_s: float) -> None:
        if self.fails is not None:
            raise self.fails
        if self.settled.wait(timeout_s):
            self.settled.clear()
            for _, _, report in self.produced:
                report(None, None)

    def flush(self, timeout_s: float) -> None:
        pass


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Producer:
    made = Producer()
    monkeypatch.setattr(edge_publish, "new_reporting_producer", lambda *_, **__: made)
    return made


async def until(condition: Any) -> None:
    async with asyncio.timeout(STALL_S):
        while not condition():
            await asyncio.sleep(0)


def test_records_go_in_sets_and_are_told_of(producer: Producer) -> None:
    async def go() -> None:
        publisher = Publisher("nowhere", "test", asyncio.get_running_loop())
        told: list[str | None] = []
        publisher.publish("t", "k", b"first", [], told.append)
        assert producer.produced == []
        await until(lambda: producer.produced)
        # within the pace: all that comes waits for one set
        for value in (b"a", b"b"):
            publisher.publish("t", "k", value, [], told.append)
            await asyncio.sleep(0)
        await until(lambda: len(producer.produced) == 3)
        times = [at for at, _, _ in producer.produced]
        assert [value for _, value, _ in producer.produced] == [b"first", b"a", b"b"]
        assert times[1] - times[0] >= PUBLISH_PACE_S * 0.9
        producer.settled.set()
        await until(lambda: told == [None] * 3)
        publisher.publish("t", "k", b"last", [], told.append)
        publisher.send_held()
        assert len(producer.produced) == 4
        publisher.close()

    asyncio.run(go())


def test_a_full_queue_is_refused_at_once_or_told(producer: Producer) -> None:
    async def go() -> None:
        publisher = Publisher("nowhere", "test", asyncio.get_running_loop())
        told: list[str | None] = []
        producer.queued = edge_publish.MAX_QUEUED
        with pytest.raises(QueueFull, match="50,000 records wait"):
            publisher.publish("t", "k", b"v", [], told.append)
        producer.queued, producer.refuses = 0, FULL
        publisher.publish("t", "k", b"v", [], told.append)
        await until(lambda: told)
        assert told == ["Local: Queue full"]
        publisher.close()

    asyncio.run(go())


def test_a_set_is_told_of_record_by_record_and_done_once(producer: Producer) -> None:
    async def go() -> None:
        publisher = Publisher("nowhere", "test", asyncio.get_running_loop())
        ends: list[tuple[SentSet, int]] = []
        loop_thread = threading.get_ident()
        sent = SentSet(3, lambda done: ends.append((done, threading.get_ident())))
        publisher.publish_set("t", [("k", value, []) for value in (b"a", b"b", b"c")], sent)
        await until(lambda: len(producer.produced) == 3)
        assert [value for _, value, _ in producer.produced] == [b"a", b"b", b"c"]
        producer.produced[1][2](None, None)
        assert (list(sent.acknowledged), ends) == ([0, 1, 0], [])
        for place in (0, 2):
            producer.produced[place][2](None, None)
        producer.produced.clear()
        producer.settled.set()
        await until(lambda: ends)
        assert ends == [(sent, loop_thread)]
        assert (list(sent.acknowledged), sent.errors) == ([1, 1, 1], {})
        publisher.close()

    asyncio.run(go())


def test_a_set_without_room_is_refused_whole_and_a_record_by_itself(producer: Producer) -> None:
    async def go() -> None:
        publisher = Publisher("nowhere", "test", asyncio.get_running_loop())
        ends: list[SentSet] = []
        records: list[SetRecord] = [("k", b"a", []), ("k", b"b", [])]
        producer.queued = edge_publish.MAX_QUEUED - 1
        with pytest.raises(QueueFull):
            publisher.publish_set("t", records, SentSet(2, ends.append))
        producer.queued, producer.refuses = 0, FULL
        publisher.publish_set("t", records, SentSet(2, ends.append))
        await until(lambda: ends)
        assert ends[0].errors == dict.fromkeys((0, 1), "Local: Queue full")
        assert producer.produced == []
        publisher.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    "refusal", [FULL, TOO_LARGE, SystemError("headers"), ValueError("headers")], ids=repr
)
def test_a_record_that_cannot_be_sent_holds_up_no_other(producer: Producer, refusal: Exception) -> None:
    async def go() -> None:
        publisher = Publisher("nowhere", "test", asyncio.get_running_loop())
        producer.refuses = refusal
        told: list[tuple[bytes, str | None]] = []
        for value in (b"odd", b"fine"):
            publisher.publish("t", "k", value, [], lambda error, value=value: told.append((value, error)))
        sets: list[SentSet] = []
        publisher.publish_set("t", [("k", b"odd", []), ("k", b"fine", [])], SentSet(2, sets.append))
        await until(lambda: len(producer.produced) == 2)
        producer.settled.set()
        await until(lambda: len(told) == 2 and sets)
        assert sorted(told) == [(b"fine", None), (b"odd", str(refusal))]
        assert (list(sets[0].acknowledged), sets[0].errors) == ([0, 1], {0: str(refusal)})
        publisher.close()

    asyncio.run(go())


def test_a_request_that_cannot_be_told_holds_up_no_other(producer: Producer) -> None:
    async def go() -> None:
        publisher = Publisher("nowhere", "test", asyncio.get_running_loop())
        told: list[str | None] = []

        def breaks(_: str | None) -> None:
            raise RuntimeError("of this one")

        for done in (breaks, told.append):
            publisher.publish("t", "k", b"v", [], done)
        await until(lambda: len(producer.produced) == 2)
        producer.settled.set()
        await until(lambda: told)
        assert told == [None]
        publisher.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    "failure",
    [
        BrokersForgotten("gone"),
        KafkaException(KafkaError._FATAL),
        TypeError("exceptions must derive from BaseException"),
    ],
    ids=repr,
)
def test_a_producer_that_is_of_no_more_use_is_replaced_and_what_waits_in_it_is_told_of(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    made: list[Producer] = []

    def new(*_: Any, **__: Any) -> Producer:
        made.append(Producer())
        return made[-1]

    monkeypatch.setattr(edge_publish, "new_reporting_producer", new)

    async def go() -> None:
        publisher = Publisher("nowhere", "test", asyncio.get_running_loop())
        told: list[str | None] = []
        publisher.publish("t", "k", b"before", [], told.append)
        await until(lambda: made[0].produced)
        made[0].fails = failure
        await until(lambda: len(made) == 2)
        # it times out in the old one, which says so
        made[0].fails = None
        made[0].settled.set()
        await until(lambda: told == [None])
        publisher.publish("t", "k", b"after", [], told.append)
        publisher.send_held()
        assert [value for _, value, _ in made[1].produced] == [b"after"]
        made[1].settled.set()
        await until(lambda: told == [None, None])
        publisher.close()

    asyncio.run(go())
    assert len(made) == 2


def test_a_broker_that_is_away_is_noticed_without_a_record(producer: Producer) -> None:
    async def go() -> None:
        publisher = Publisher("x:1", "edge", asyncio.get_running_loop())
        assert publisher.answered(0.1)
        producer.away = KafkaException(KafkaError(KafkaError._TRANSPORT))
        assert not publisher.answered(0.1)
        publisher.close()

    asyncio.run(go())
