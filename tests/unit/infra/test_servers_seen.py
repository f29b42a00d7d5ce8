"""What oncall sees of Kafka, Redis and the machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from features.store.redis_client import StoreUnavailable
from infra.oncall import servers
from infra.oncall.servers import kernel_clock, show_kafka, show_machine, show_redis
from infra.stack.ports import settings_for
from streams.runtime.metrics import (
    CLOCK_ERROR,
    KAFKA_BROKERS,
    KAFKA_PARTITIONS,
    MACHINE_LOAD,
    MACHINE_MEMORY,
    REDIS_FIGURES,
)
from streams.runtime.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path, 21_000)


def shown(metric: Any, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in metric.collect()[0].samples}


def partition(leader: int, copies: int, in_sync: int) -> Any:
    return SimpleNamespace(leader=leader, replicas=[*range(copies)], isrs=[*range(in_sync)])


def test_partitions_without_a_leader_or_with_too_few_copies_are_counted(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    topics = {
        "a": SimpleNamespace(partitions={0: partition(1, 3, 3), 1: partition(-1, 3, 0)}),
        "b": SimpleNamespace(partitions={0: partition(2, 3, 2)}),
    }
    cluster = SimpleNamespace(topics=topics, brokers={1: None, 2: None})
    answers: list[Any] = [cluster]

    def list_topics(timeout: float) -> Any:
        if not answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return answers.pop()

    monkeypatch.setattr(servers, "new_admin", lambda _: SimpleNamespace(list_topics=list_topics))
    show_kafka(settings)
    assert shown(KAFKA_PARTITIONS, "state") == {"all": 3, "leaderless": 1, "under_replicated": 2}
    assert shown(KAFKA_BROKERS, "state") == {"up": 2}
    # nobody knows them while it does not answer
    show_kafka(settings)
    assert shown(KAFKA_PARTITIONS, "state") == shown(KAFKA_BROKERS, "state") == {}


def test_redis_figures_are_those_of_its_info(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    said = b"# Clients\r\nconnected_clients:7\r\nmaxclients:100\r\n# Stats\r\ninstantaneous_ops_per_sec:1200\r\nmem_fragmentation_ratio:1.25\r\n"
    answers = [said]

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def call(self, _: Any) -> list[bytes]:
            if not answers:
                raise StoreUnavailable("gone")
            return [answers.pop()]

        def close(self) -> None: ...

    monkeypatch.setattr(servers, "RespClient", Client)
    show_redis(settings)
    assert shown(REDIS_FIGURES, "figure") == {
        "connected_clients": 7,
        "instantaneous_ops_per_sec": 1200,
        "mem_fragmentation_ratio": 1.25,
    }
    show_redis(settings)
    assert shown(REDIS_FIGURES, "figure") == {}


def test_the_machine_says_its_memory_load_and_clock() -> None:
    show_machine()
    memory, load = shown(MACHINE_MEMORY, "what"), shown(MACHINE_LOAD, "what")
    assert 0 < memory["available"] <= memory["size"]
    assert load["cores"] >= 1 and load["load"] >= 0
    clock = kernel_clock()
    assert clock is not None and clock.max_error_s >= 0
    assert CLOCK_ERROR.collect()[0].samples[0].value >= 0
