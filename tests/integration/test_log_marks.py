"""Logs that are not the ones that were read, on a real Kafka where there is one: cut off, made again, and as they were."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from features.store.redis_client import RespClient
from streams.log.offsets.log_marks import LogMarks, Lost, eras, mark_key, source_name, topic_of
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.kafka.log_reader import LogRow, end_of, read_span
from streams.runtime.settings import Settings
from tests.support.waiting import STALL_S, until

GROUP = "marks-test"


def produce(settings: Settings, topic: str, *values: bytes) -> None:
    producer = new_producer(settings.kafka, "marks-test")
    for value in values:
        producer.produce(topic, value, partition=0)
    flush(producer, STALL_S)
    producer.close()


def rows_of(settings: Settings, topic: str) -> list[LogRow]:
    records: list[Any] = []
    read_span(
        settings.kafka, {topic: {0: 0}}, {topic: end_of(settings.kafka, [topic])[topic]}, records.extend
    )
    return [LogRow(r.partition(), r.offset(), r.timestamp()[1], r.value(), None) for r in records]


@pytest.fixture
def topic(kafka_redis: Settings) -> str:
    """A topic of this test's own; of the embedded broker's, one that nobody else uses."""
    if kafka_redis.embedded:
        return "warm-up"
    name = f"transactions-{secrets.token_hex(4)}"
    make(kafka_redis, name)
    return name


def make(settings: Settings, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(STALL_S)
    until(lambda: end_of(settings.kafka, [name])[name] == {0: 0}, STALL_S, "the topic to be there")


def worker(settings: Settings) -> tuple[LogMarks, RespClient]:
    client = RespClient(settings.redis_address)
    return LogMarks(settings.kafka, client, GROUP), client


def applied(settings: Settings, topic: str) -> int:
    """Apply all of a topic; returns the position after it."""
    marks, client = worker(settings)
    rows = rows_of(settings, topic)
    assert marks.begin({(topic, 0): 0}) == {}
    client.with_retry(marks.writes(topic, rows))
    assert marks.changed() == []
    return rows[-1].offset + 1


def test_a_log_that_grows_is_the_one_that_was_read(kafka_redis: Settings, topic: str) -> None:
    produce(kafka_redis, topic, b"a", b"b")
    position = applied(kafka_redis, topic)
    produce(kafka_redis, topic, b"c")
    marks, client = worker(kafka_redis)
    assert marks.begin({(topic, 0): position}) == {} and marks.changed() == []
    assert eras(client, [(topic, 0)]) == {(topic, 0): 0}


def test_a_position_beyond_the_end_is_a_log_that_was_cut_off(kafka_redis: Settings, topic: str) -> None:
    produce(kafka_redis, topic, b"a", b"b")
    position = applied(kafka_redis, topic)
    marks, client = worker(kafka_redis)
    lost = marks.begin({(topic, 0): position + 1})
    assert lost == {(topic, 0): Lost(0, False)}
    client.with_retry(marks.writes_of(lost, {(topic, 0): position + 1}))
    assert eras(client, [(topic, 0)]) == {(topic, 0): 1}
    assert (
        marks.rewound({(topic, 0): position}) == [(topic, 0)]
        and marks.rewound({(topic, 0): position + 1}) == []
    )
    assert client.with_retry([("GET", mark_key((topic, 0), GROUP))]) == [None]


@pytest.mark.parametrize(
    "other", [lambda mark: (mark[0], mark[1] + 1), lambda mark: (mark[0] - 1, mark[1] + 7)]
)
def test_another_record_at_its_offset_is_another_log(
    kafka_redis: Settings, topic: str, other: Callable[[tuple[int, int]], tuple[int, int]]
) -> None:
    produce(kafka_redis, topic, b"a", b"b", b"c")
    position = applied(kafka_redis, topic)
    marks, client = worker(kafka_redis)
    (raw,) = client.with_retry([("GET", mark_key((topic, 0), GROUP))])
    offset, appended_ms, topic_id = raw.decode().split(":")
    changed = other((int(offset), int(appended_ms)))
    client.with_retry([("SET", mark_key((topic, 0), GROUP), f"{changed[0]}:{changed[1]}:{topic_id}")])
    assert marks.begin({(topic, 0): position}) == {(topic, 0): Lost(0, False)}


def test_a_topic_that_was_made_again_is_read_from_its_beginning(kafka_redis: Settings, topic: str) -> None:
    if kafka_redis.embedded:
        pytest.skip("the broker in memory cannot delete a topic")
    produce(kafka_redis, topic, b"a", b"b")
    position = applied(kafka_redis, topic)
    running, _ = worker(kafka_redis)
    assert running.begin({(topic, 0): position}) == {}
    admin = AdminClient({"bootstrap.servers": kafka_redis.kafka})
    admin.delete_topics([topic])[topic].result(STALL_S)
    until(lambda: end_of(kafka_redis.kafka, [topic])[topic] == {}, STALL_S, "the topic to be gone")
    make(kafka_redis, topic)
    # it grows past the position: only what stands there tells
    produce(kafka_redis, topic, *(b"%d" % n for n in range(10)))
    assert running.changed() == [(topic, 0)]
    marks, _ = worker(kafka_redis)
    assert marks.begin({(topic, 0): position}) == {(topic, 0): Lost(0, True)}


def test_a_source_is_known_by_its_era() -> None:
    assert [source_name("transactions", era) for era in (0, 2)] == ["transactions", "transactions@2"]
    assert [topic_of(source_name("transactions", era)) for era in (0, 2)] == ["transactions"] * 2
