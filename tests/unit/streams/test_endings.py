"""Chunks that end behind the next one: in order, never written before they are acknowledged, and none after one that failed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from features.store.partition_lease import LeaseLost
from features.store.redis_client import StoreFull
from streams.processor.commit import ChunkCommit, CommitFailed, PipelinedCommitter, WaitsForRoom
from streams.processor.identities.blocks import SECRET_KEY
from streams.runtime.chunk import app as chunks
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.kafka.clients import DeliveryError
from streams.runtime.metrics import STORE_FULL
from tests.support.parity_world import MemoryLog, MemoryRedis, Worker
from tests.support.stage import Stage
from tests.support.waiting import STALL_S, until

WITHIN_S = 5.0


class Broker:
    """A producer whose ``flush`` waits until the test lets it."""

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.let = threading.Semaphore(0)
        self.fails: Exception | None = None

    def flush(self, timeout_s: float) -> int:
        assert self.let.acquire(timeout=WITHIN_S)
        if self.fails is not None:
            raise self.fails
        self.told.append("acknowledged")
        return 0


class Store:
    """Leases whose ``write`` waits until the test lets it, raises what ``fails`` says, or refuses while ``full``."""

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.let = threading.Semaphore(0)
        self.fails: Exception | None = None
        self.full = False
        self.refusals = threading.Semaphore(0)

    def write(
        self, partitions: Any, starts: Any, writes: Sequence[Any], positions: Mapping[Any, int]
    ) -> None:
        if self.full:
            self.refusals.release()
            raise StoreFull("Redis is full: OOM")
        assert self.let.acquire(timeout=WITHIN_S)
        if self.fails is not None:
            raise self.fails
        self.told.append(f"written {writes[0]}")


class World:
    def __init__(self, **limits: int) -> None:
        self.told: list[str] = []
        self.broker, self.store = Broker(self.told), Store(self.told)
        broker: Any = self.broker
        store: Any = self.store
        self.committer = PipelinedCommitter(broker, store, **limits)

    def end(self, name: str) -> Future[None]:
        commit: Any = ChunkCommit([], {}, {}, [name], lambda: self.told.append(f"told {name}"))
        done = self.committer.end(commit)
        assert done is not None
        return done


def blocked(call: Any) -> threading.Thread:
    """``call`` in a thread, which is still in it a moment later."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    return thread


def test_a_chunk_is_acknowledged_then_written_and_the_next_may_be_computed_meanwhile() -> None:
    world = World()
    first = world.end("a")
    waiting = blocked(world.committer.acknowledged)
    world.broker.let.release()
    waiting.join(WITHIN_S)
    # acknowledged, not written: the next one produces
    assert not waiting.is_alive() and world.told == ["acknowledged"] and not world.committer.idle
    second = world.end("b")
    settling = blocked(world.committer.settled)
    # a write that takes its time holds up nothing that is on its way to the broker
    world.broker.let.release()
    world.committer.acknowledged()
    assert world.told == ["acknowledged"] * 2 and not second.done()
    world.store.let.release()
    first.result(WITHIN_S)
    world.store.let.release()
    second.result(WITHIN_S)
    settling.join(WITHIN_S)
    assert not settling.is_alive() and world.committer.idle
    assert world.told[2:] == ["written a", "told a", "written b", "told b"]


def test_few_chunks_are_unwritten() -> None:
    world = World()
    for name in "abcd":
        world.end(name)
        world.broker.let.release()
        if name < "d":
            world.committer.acknowledged()
    # one is being written, one waits for it, one cannot be handed on, one waits to be acknowledged
    fifth = blocked(lambda: world.end("e"))
    assert world.told == ["acknowledged"] * 3
    world.store.let.release()
    fifth.join(WITHIN_S)
    assert not fifth.is_alive() and "written b" not in world.told


def test_what_the_broker_refuses_is_not_written_nor_anything_after_it() -> None:
    world = World()
    world.broker.fails = DeliveryError("records were not delivered")
    world.broker.let.release()
    assert isinstance(world.end("a").exception(WITHIN_S), DeliveryError)
    with pytest.raises(CommitFailed, match="not delivered"):
        world.end("b")
    assert world.told == []


def test_nothing_is_done_after_one_that_failed() -> None:
    world = World()
    world.store.fails = LeaseLost("transactions[0] was taken by another worker")
    first = world.end("a")
    for _ in range(2):
        world.broker.let.release()
        world.store.let.release()
    assert isinstance(first.exception(WITHIN_S), LeaseLost)
    for call in (world.committer.acknowledged, world.committer.settled, partial(world.end, "b")):
        with pytest.raises(CommitFailed, match="taken by another worker"):
            call()
    assert world.told == ["acknowledged"]


def test_while_redis_is_full_chunks_are_finished_and_their_writes_wait_in_order() -> None:
    world = World()
    world.store.full = True
    for name in ("a", "b", "c"):
        world.broker.let.release()
        world.end(name).result(WITHIN_S)
        world.committer.acknowledged()
    # who must read what waits is told at once, and again what is not written is not idle
    with pytest.raises(WaitsForRoom, match="3 chunks wait for room"):
        world.committer.settled()
    assert not world.committer.idle
    assert STORE_FULL.collect()[0].samples[0].value == 1
    assert world.told == ["acknowledged"] * 3
    world.store.full = False
    for _ in range(4):
        world.store.let.release()
    # another chunk, or half a second, and all is written
    world.broker.let.release()
    world.end("d").result(WITHIN_S)
    assert world.told[4:] == [f"{what} {name}" for name in "abcd" for what in ("written", "told")]
    assert world.committer.idle
    assert STORE_FULL.collect()[0].samples[0].value == 0


def test_what_waits_for_room_is_written_without_another_chunk() -> None:
    world = World()
    world.store.full = True
    world.broker.let.release()
    world.end("a").result(WITHIN_S)
    world.store.full = False
    world.store.let.release()
    until(lambda: world.committer.idle, STALL_S, "the chunk to be written")
    world.committer.settled()


def test_more_than_may_wait_for_room_ends_the_process() -> None:
    world = World(held_bytes=150)
    world.store.full = True
    world.broker.let.release()
    world.end("a").result(WITHIN_S)
    world.broker.let.release()
    assert isinstance(world.end("b").exception(WITHIN_S), StoreFull)
    with pytest.raises(CommitFailed, match="full"):
        world.end("c")


@pytest.mark.parametrize("error", [None, LeaseLost("gone")])
def test_a_chunk_is_finished_when_its_ending_is_and_a_failed_one_ends_the_process(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    finished: list[str] = []
    monkeypatch.setattr(chunks.os, "_exit", ended.append)
    commit: Future[None] = Future()
    chunk = Chunk("transactions", [1], finish=lambda: finished.append("it"))

    async def stream() -> Any:
        yield chunk

    async def scenario() -> None:
        await chunks._agent(lambda _: commit)(stream())
        assert finished == ended == []
        # as the thread that ends chunks does
        end = partial(commit.set_exception, error) if error else partial(commit.set_result, None)
        await asyncio.to_thread(end)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert (ended, finished) == (([chunks.EXIT_HANDLER_FAILED], []) if error else ([], ["it"]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget", [1 << 21, 0])
def test_what_is_served_and_stored_is_that_of_a_worker_that_ends_each_chunk_at_once(
    seed: int, budget: int
) -> None:
    stage = Stage(seed)
    stage.run(150)
    kept: list[Any] = []
    for behind in (False, True):
        redis, log = MemoryRedis(), MemoryLog()
        # of one store: another would hash identities under another secret
        redis.values[SECRET_KEY] = b"sixteen bytes ok"
        log.topics = {
            place: list(records) for place, records in stage.log.topics.items() if place[0] == "transactions"
        }
        worker = Worker(log, redis, budget, behind=behind)
        while worker.behind():
            worker.step("transactions", 7)
            worker.step("entities", 3)
        worker.settle()
        kept.append(
            (
                [(r.partition, r.value) for r in log.records("features")],
                [(r.partition, r.value) for r in log.records("entities")],
                redis.hashes,
                # of one moment: a worker's clock stands still here
                {key: value for key, value in redis.values.items() if key.startswith("{")},
            )
        )
    assert kept[0] == kept[1]
