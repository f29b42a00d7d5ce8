"""Where topics end, while the broker has not chosen leaders yet and when it will not answer; no Kafka."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.audit import LedgerUnreachable, end_of
from streams.runtime.kafka import log_reader as spans
from streams.runtime.kafka.clients import NO_LEADER_YET, watermarks


class Broker:
    """Stands for the reading consumer: its first answers are these errors, then every partition ends at 7."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics={"decisions": SimpleNamespace(partitions={0: None, 1: None})})

    def get_watermark_offsets(self, place: Any, timeout: float) -> tuple[int, int]:
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return 3, 7

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "code",
    [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART],
)
def test_a_topic_created_a_moment_ago_is_waited_for(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    broker = Broker(code, code)
    monkeypatch.setattr(spans, "log_reader", lambda _bootstrap: broker)
    assert end_of("nowhere:1", ["decisions", "unknown"]) == {"decisions": {0: 7, 1: 7}, "unknown": {}}
    assert broker.errors == []


def test_a_leader_that_never_comes_and_a_refusal_end_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    never = Broker(*[KafkaError.NOT_LEADER_FOR_PARTITION] * 1_000)
    monkeypatch.setattr(spans, "log_reader", lambda _bootstrap: never)
    with pytest.raises(LedgerUnreachable, match=r"nowhere:1 does not answer"):
        end_of("nowhere:1", ["decisions"], timeout_s=0.2)
    refuses = Broker(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    monkeypatch.setattr(spans, "log_reader", lambda _bootstrap: refuses)
    with pytest.raises(LedgerUnreachable):
        end_of("nowhere:1", ["decisions"])
    assert refuses.errors == []


@pytest.mark.parametrize("code", NO_LEADER_YET)
def test_watermarks_wait_for_a_leader_and_not_for_what_will_not_come(code: int) -> None:
    consumer: Any = Broker(code, code)
    assert watermarks(consumer, TopicPartition("drift", 0), 5.0) == (3, 7)
    never: Any = Broker(*[code] * 1_000)
    with pytest.raises(KafkaException):
        watermarks(never, TopicPartition("drift", 0), 0.2)
    unknown: Any = Broker(KafkaError.UNKNOWN_TOPIC_OR_PART)
    with pytest.raises(KafkaException):
        watermarks(unknown, TopicPartition("drift", 0), 5.0)
    assert unknown.errors == []
