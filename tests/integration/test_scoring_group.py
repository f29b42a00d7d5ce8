"""Replicas that score the stream as one group on a real broker: one comes, one goes, and each transaction is decided once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from infra import stack
from infra.stack.restarting import group_members
from infra.stack.tools import find_tools
from services.scoring.model.serving import NOTHING
from services.scoring.stream.worker import StreamScorer
from streams.audit import end_of
from streams.log.other_catalogues import Layouts
from streams.log.records import HEADER_SOURCE_OFFSET
from streams.log.topics import ALL, DECISIONS, FEATURES
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.support.archive_samples import features
from tests.support.running import ends_of, read_topic
from tests.support.waiting import until

PARTITIONS, EACH = 4, 250
SOON_S = 90.0


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]) -> Iterator[Settings]:
    if not find_tools().real_kafka:
        pytest.skip("no real Kafka here: it needs Java 17 and its jars (`make setup`)")
    settings = stack.settings_for(tmp_path_factory.mktemp("group"), free_port_base())
    settings = stack.start(
        msgspec.structs.replace(settings, partitions=PARTITIONS), only=("kafka",), wait_s=90
    )
    try:
        end_of(settings.kafka, [topic.name for topic in ALL], timeout_s=SOON_S)
        yield settings
    finally:
        stack.stop(settings, purge=True)


class Replica:
    """One that has no bundle yet: it decides that nothing was scored."""

    def __init__(self, settings: Settings, name: str) -> None:
        live: Any = SimpleNamespace(serving=NOTHING)
        self._stop = threading.Event()
        self.scorer = StreamScorer(settings, name, live, Layouts({}.get), self._stop)
        self.scorer.start()

    @property
    def partitions(self) -> set[int]:
        return set(self.scorer._seen)

    def end(self) -> None:
        self._stop.set()
        self.scorer.join(SOON_S)
        assert not self.scorer.alive


@pytest.mark.timeout(400)
def test_replicas_come_and_go_and_each_transaction_is_decided_once(broker: Settings) -> None:
    producer = new_producer(broker.kafka, "test")
    sent = 0

    def send() -> None:
        """EACH more on every partition; they are under way when this returns."""
        nonlocal sent
        for number in range(sent, sent + EACH):
            for partition in range(PARTITIONS):
                producer.produce(FEATURES.name, features(number, partition).value, partition=partition)
            producer.poll(0)
        sent += EACH

    def shared(*members: Replica) -> bool:
        shares = [member.partitions for member in members]
        return all(shares) and sorted(p for share in shares for p in share) == list(range(PARTITIONS))

    first = Replica(broker, "replica-0")
    members = [first]
    try:
        until(lambda: shared(first), SOON_S, "the first to have all partitions")
        send()
        second = Replica(broker, "replica-1")
        members.append(second)
        send()
        until(lambda: shared(first, second), SOON_S, "both to share the partitions")
        # a rolling restart asks this before the next one's turn comes
        both = until(lambda: group_members(broker, "scoring-stream-0"), SOON_S, "the group to be at rest")
        assert len(both) == 2
        send()
        members.remove(first)
        first.end()
        send()
        until(lambda: shared(second), SOON_S, "the one that stayed to have all partitions")
        left = until(lambda: group_members(broker, "scoring-stream-0"), SOON_S, "the group to be at rest")
        assert left < both and len(left) == 1
        send()
        flush(producer, SOON_S)
        until(
            lambda: sum(ends_of(broker, DECISIONS.name, PARTITIONS).values()) >= PARTITIONS * sent,
            SOON_S,
            "all decided",
        )
    finally:
        for member in members:
            member.end()
        producer.close()
    decided: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}
    for record in read_topic(broker, DECISIONS.name, dict.fromkeys(range(PARTITIONS), 0), timeout_s=SOON_S):
        decided[record.partition()].append(int(dict(record.headers())[HEADER_SOURCE_OFFSET]))
    assert decided == {partition: list(range(sent)) for partition in range(PARTITIONS)}
