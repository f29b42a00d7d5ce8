"""Kafka and Redis as a part of a stack: they answer, come back after SIGKILL, keep what they had, and go."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis
from confluent_kafka.admin import AdminClient

from infra import stack
from infra.stack.supervisor import Supervisor, marked
from streams.log.topics import ALL
from streams.runtime.kafka.clients import flush, new_consumer, new_producer
from streams.runtime.settings import Settings
from tests.support.waiting import until


def pid_of(settings: Settings, name: str) -> int:
    pid = Supervisor(settings).states()[name]["pid"]
    assert isinstance(pid, int)
    return pid


def test_every_topic_is_there(kafka_redis: Settings) -> None:
    topics = AdminClient({"bootstrap.servers": kafka_redis.kafka}).list_topics(timeout=90).topics
    for topic in ALL:
        assert len(topics[topic.name].partitions) == (topic.partitions or kafka_redis.partitions)


def test_a_killed_broker_comes_back_with_what_it_had(kafka_redis: Settings) -> None:
    if kafka_redis.embedded:
        pytest.skip(
            "the mock cluster keeps nothing: needs Java 17 and Kafka's jars (`make setup` brings them)"
        )
    key = uuid.uuid4().hex
    producer = new_producer(kafka_redis.kafka, "test-stack", log_level=0)
    producer.produce("drift", key=key, value=b"before")
    flush(producer, 20)
    before = pid_of(kafka_redis, "kafka")
    os.kill(before, signal.SIGKILL)
    until(lambda: pid_of(kafka_redis, "kafka") not in (0, before), 20, "a new broker")
    producer.produce("drift", key=key, value=b"after")
    flush(producer, 60)
    consumer = new_consumer(kafka_redis.kafka, f"test-{key}", log_level=0)
    consumer.subscribe(["drift"])
    values: list[bytes] = []

    def both() -> bool:
        message = consumer.poll(1.0)
        if message is not None and not message.error() and message.key() == key.encode():
            values.append(message.value())
        return values == [b"before", b"after"]

    until(both, 60, "both records")
    consumer.close()
    listed = {process["name"]: process for process in stack.processes(kafka_redis)}
    assert listed["kafka"]["restarts"] >= 1


def test_a_killed_redis_comes_back_with_what_it_had(kafka_redis: Settings) -> None:
    client = redis.Redis.from_url(kafka_redis.redis_address)
    client.set("stack-test", "kept")
    before = pid_of(kafka_redis, "redis")
    os.kill(before, signal.SIGKILL)

    def back() -> bool:
        try:
            return pid_of(kafka_redis, "redis") != before and client.get("stack-test") == b"kept"
        except redis.exceptions.ConnectionError:
            return False

    until(back, 20, "Redis with its key")


def test_stop_leaves_nothing_and_ends_orphans(tmp_path: Path, free_port_base: Callable[[], int]) -> None:
    settings = stack.settings_for(tmp_path / "home", free_port_base())
    settings = stack.start(settings, only=("redis", "oncall"), wait_s=60)
    assert stack.is_running(settings)
    supervisor = Supervisor(settings).pid()
    assert supervisor is not None
    # its children go on without it
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not stack.is_running(settings), 10, "the end of supervisord")
    assert marked(settings)
    assert stack.stop(settings, purge=True) > 0
    assert not marked(settings)
    assert not (tmp_path / "home").exists()


def test_a_taken_port_is_named_with_its_owner(
    tmp_path: Path, free_port_base: Callable[[], int], kafka_redis: Settings
) -> None:
    settings = stack.settings_for(tmp_path / "home", kafka_redis.port_base)
    with pytest.raises(
        stack.StackError, match=rf"port \d+ \(redis\) is taken by pid {pid_of(kafka_redis, 'redis')}"
    ):
        stack.start(settings, only=("redis",))
    assert not marked(settings)


def test_purge_refuses_a_folder_that_is_no_stack(tmp_path: Path) -> None:
    (tmp_path / "photos").write_text("dear")
    with pytest.raises(stack.StackUsageError):
        stack.stop(stack.settings_for(tmp_path, 21000), purge=True)
    assert (tmp_path / "photos").exists()


def test_what_is_marked_is_never_the_caller(kafka_redis: Settings) -> None:
    assert psutil.Process().pid not in {process.pid for process in marked(kafka_redis)}
