"""A parity window over a real Redis and a broker: one moment of the store, and the items that came since."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from features.store.redis_client import RespClient, StoreUnavailable
from infra.embedded.mock_cluster import MockCluster
from infra.stack.tools import find_tools
from streams.audit.parity.snapshot import look, store_window
from streams.log.other_catalogues import Layouts
from streams.log.topics import ENTITIES
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.metrics import PARITY_COMPARED, PARITY_SKIPPED
from streams.runtime.settings import Settings
from tests.support.feature_batches import batches_in
from tests.support.metric_values import counted
from tests.support.parity_world import PARTITIONS
from tests.support.stage import Stage
from tests.support.waiting import until


@pytest.fixture
def settings(tmp_path: Path, free_port_base: Callable[[], int]) -> Iterator[Settings]:
    """A store and a broker of this test's own: positions are those of a whole stack."""
    program, socket = find_tools().redis_server, str(tmp_path / "redis.sock")
    assert program is not None, "the system's or the one from a wheel: `make setup` brings either"
    arguments = ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    cluster = MockCluster({ENTITIES.name: PARTITIONS})
    try:
        yield Settings(
            home=str(tmp_path), kafka=cluster.bootstrap, redis_socket=socket, partitions=PARTITIONS
        )
    finally:
        cluster.close()
        process.terminate()
        process.wait(10)


def answers(client: RespClient) -> bool:
    try:
        return client.call([("PING",)]) == [b"PONG"]
    except StoreUnavailable:
        return False


def copied(stage: Stage, client: RespClient) -> None:
    """The world's store, into the real one."""
    redis = stage.redis
    commands: list[Any] = [("SET", key, value) for key, value in redis.values.items()]
    for key, fields in redis.hashes.items():
        commands.append(("HSET", key, *(part for pair in fields.items() for part in pair)))
    replies = client.call(commands)
    assert not any(isinstance(reply, Exception) for reply in replies), replies


def test_a_window_compares_over_a_real_store_and_broker(settings: Settings) -> None:
    client = RespClient(settings.redis_address)
    until(lambda: answers(client), 20, "Redis")
    stage = Stage(4)
    stage.run(80)
    copied(stage, client)
    window = store_window(settings, Layouts({}.get))
    before = {(r.partition, r.offset) for r in stage.log.records("features")}
    window.offer(batches_in(record.value for record in stage.log.records("features")))
    assert look(window, 0.0) == 0
    stage.run(60)
    producer = new_producer(settings.kafka, "parity-window")
    for record in stage.log.records("entities"):
        producer.produce(ENTITIES.name, value=record.value, partition=record.partition)
    flush(producer, 30)
    news = [r for r in stage.log.records("features") if (r.partition, r.offset) not in before]
    window.offer(batches_in(record.value for record in news))
    skipped, compared = counted(PARITY_SKIPPED), counted(PARITY_COMPARED)
    assert window.tick(20.0) == 0
    assert counted(PARITY_SKIPPED) == skipped
    assert counted(PARITY_COMPARED) > compared
    client.close()
