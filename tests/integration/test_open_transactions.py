"""A producer's Kafka transaction that stays open holds back what comes after it: the status says so, and the broker bounds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from infra.stack.health import standing as health
from infra.stack.health.standing import standing
from streams.log.topics import TRANSACTIONS
from streams.runtime.kafka.clients import new_consumer
from streams.runtime.settings import Settings
from tests.support.waiting import STALL_S

#: what Kafka allows by itself
QUARTER_OF_AN_HOUR_MS = 900_000


@pytest.fixture
def real(own_kafka_redis: Settings) -> Settings:
    if own_kafka_redis.embedded:
        pytest.skip("the mock cluster holds nothing back")
    return own_kafka_redis


@contextmanager
def producer(settings: Settings, timeout_ms: int) -> Iterator[Producer]:
    """A producer with an open transaction, in which there is one record."""
    made = Producer({"bootstrap.servers": settings.kafka, "transactional.id": f"t-{timeout_ms}", "transaction.timeout.ms": timeout_ms})  # fmt: skip
    made.init_transactions(STALL_S)
    made.begin_transaction()
    made.produce(TRANSACTIONS.name, b"{}", partition=0)
    made.flush(STALL_S)
    yield made


def test_the_broker_holds_nothing_back_for_longer_than_a_minute(real: Settings) -> None:
    with pytest.raises(KafkaException) as refused, producer(real, QUARTER_OF_AN_HOUR_MS):
        pass
    assert refused.value.args[0].code() == KafkaError.INVALID_TRANSACTION_TIMEOUT


def test_the_status_says_that_a_transaction_is_open_until_it_is_not(
    real: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ON_THEIR_WAY_S", 0.0)
    assert standing(real, pause=0.1) == []
    with producer(real, 60_000) as open_one:
        (problem,) = standing(real, pause=0.1)
        assert (
            problem.stops
            and "an open transaction of a producer holds transactions[0] back from offset 0" in problem.text
        )
        open_one.commit_transaction(STALL_S)
    consumer = new_consumer(real.kafka, "processor")
    # all that a reader can read: behind it is only the mark of the commit
    consumer.commit(offsets=[TopicPartition(TRANSACTIONS.name, 0, 1)], asynchronous=False)
    consumer.close()
    assert standing(real, pause=0.1) == []
