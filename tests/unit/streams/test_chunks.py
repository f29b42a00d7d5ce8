"""What a rebalance does to chunks that are fetched and not handled yet; no Kafka, Faust's consumer on a made-up thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from faust.types import TP

from streams.runtime.chunk import app as chunks
from streams.runtime.chunk import consumer as consumers
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.chunk.consumer import CHUNKS_AT_ONCE
from streams.runtime.chunk.fetched_record import FetchedRecord
from streams.runtime.chunk.pacing import Pacing
from streams.runtime.settings import Settings

ZERO = TP("transactions", 0)


class Thread:
    """Stands for the consumer thread: one partition with these offsets, one record a fetch."""

    #: it stands in no tree of services
    beacon = None
    #: what a fetch raises
    fails: Exception | None = None

    def __init__(self, offsets: list[int]) -> None:
        self.offsets = offsets
        self.position = 0
        self.events: list[str] = []
        self.hold: asyncio.Event | None = None

    async def getmany(self, active: Any, timeout: float) -> dict[TopicPartition, list[Any]]:
        self.events.append("fetch")
        if self.fails is not None:
            raise self.fails
        left = [offset for offset in self.offsets if offset >= self.position]
        if not left:
            await asyncio.sleep(0.001)
            return {}
        self.position = left[0] + 1
        record = FetchedRecord(ZERO.topic, ZERO.partition, left[0], 0, None, b"v", [])
        if self.hold is not None:
            await self.hold.wait()
        self.events.append("fetched")
        return {TopicPartition(*ZERO): [record]}

    async def seek_to_committed(self) -> dict[TP, int]:
        return {}

    async def seek_wait(self, places: dict[TP, int]) -> None:
        self.events.append("seek")
        self.position = places[ZERO]

    def assignment(self) -> set[TP]:
        return {ZERO}

    def highwater(self, tp: TP) -> int:
        return 100


async def _nothing(*_: Any) -> None:
    return None


class World:
    """One consumer with its thread; ``handed`` are the chunks that went on to the agent."""

    def __init__(
        self, thread: Thread, tmp_path: Any, start: int = 0, pacing: Pacing = chunks.AT_ONCE
    ) -> None:
        self.thread = thread
        self.start = start
        self.handed: list[Chunk] = []
        process: Any = SimpleNamespace(settings=Settings(home=str(tmp_path)), name="test")
        app = chunks._new_app(process, "test", lambda _: {("transactions", 0): self.start}, 1, pacing)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(consumers, "ChunkConsumerThread", lambda *_, **__: thread)
            self.consumer: Any = app.transport.create_consumer(
                callback=self._hand_on, on_partitions_revoked=_nothing, on_partitions_assigned=_nothing
            )
        self.consumer.resume_partitions({ZERO})

    async def _hand_on(self, message: Any) -> None:
        self.handed.append(message.value)

    async def assign(self) -> None:
        """What Faust does after an assignment."""
        self.consumer.resume_partitions({ZERO})
        await self.consumer.perform_seek()
        self.consumer.resume_flow()

    async def revoke(self) -> None:
        self.consumer.stop_flow()
        await self.consumer.on_partitions_revoked({ZERO})

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not done():
                await asyncio.sleep(0.001)

    def has_handed(self, number: int) -> bool:
        return len(self.handed) == number

    def firsts(self) -> list[int]:
        return [chunk.records[0].offset for chunk in self.handed]


def run(world_of: Callable[[], World], scenario: Callable[[World], Awaitable[None]]) -> World:
    """Run a scenario beside the consumer's own loop over fetches."""

    async def both() -> World:
        world = world_of()
        await world.assign()
        fetcher = SimpleNamespace(should_stop=False)
        drain = asyncio.create_task(world.consumer._drain_messages(fetcher))
        await scenario(world)
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)
        return world

    return asyncio.run(both())


def test_a_chunk_that_waited_through_a_rebalance_is_dropped_and_fetched_again_in_order(tmp_path: Any) -> None:
    async def scenario(world: World) -> None:
        # the next one waits for room
        await world.until(lambda: world.thread.position == CHUNKS_AT_ONCE + 1)
        assert world.firsts() == list(range(CHUNKS_AT_ONCE))
        stale = list(world.handed)
        world.handed.clear()
        await world.revoke()
        assert not any(chunk.current() for chunk in stale)
        await world.assign()
        await world.until(lambda: len(world.handed) == CHUNKS_AT_ONCE)
        assert world.firsts() == list(range(CHUNKS_AT_ONCE))
        # a chunk of the session before gives its place back to that session, not to this one
        stale[0].finish()
        await asyncio.sleep(0)
        assert len(world.handed) == CHUNKS_AT_ONCE
        # and no permit is lost: each that finishes lets the next one in, to the end
        for done in range(5):
            world.handed[done].finish()
            await world.until(partial(world.has_handed, min(6, CHUNKS_AT_ONCE + done + 1)))
        assert world.firsts() == [0, 1, 2, 3, 4, 5]
        assert world.consumer._handled == {ZERO: 5}

    run(lambda: World(Thread([0, 1, 2, 3, 4, 5]), tmp_path), scenario)


def test_a_chunk_and_its_records_are_gone_with_their_last_user(tmp_path: Any) -> None:
    async def scenario(world: World) -> None:
        await world.until(lambda: world.has_handed(CHUNKS_AT_ONCE))
        chunk = world.handed.pop(0)
        chunk.finish()
        trace = weakref.ref(chunk)
        del chunk
        # no collector comes by: a circle would keep every record that was ever read until one does
        assert trace() is None

    gc.disable()
    try:
        run(lambda: World(Thread(list(range(CHUNKS_AT_ONCE))), tmp_path), scenario)
    finally:
        gc.enable()


def test_a_chunk_taken_from_this_worker_is_not_handed_on_before_the_next_assignment(tmp_path: Any) -> None:
    async def scenario(world: World) -> None:
        await world.until(lambda: world.thread.position == CHUNKS_AT_ONCE + 1)
        await world.revoke()
        for chunk in list(world.handed):
            chunk.finish()
        await asyncio.sleep(0.01)
        assert world.firsts() == list(range(CHUNKS_AT_ONCE))
        assert world.consumer._handled == {}

    run(lambda: World(Thread([0, 1, 2, 3, 4]), tmp_path), scenario)


def test_a_fetch_is_over_before_the_seek_and_what_it_brought_is_dropped(tmp_path: Any) -> None:
    async def scenario(world: World) -> None:
        thread = world.thread
        await world.until(lambda: world.firsts() == [0])
        world.handed[0].finish()
        thread.hold = asyncio.Event()
        thread.offsets = [0, 1, 2, 3]
        thread.events.clear()
        await world.until(lambda: thread.position == 2)
        await world.revoke()
        seeking = asyncio.create_task(world.assign())
        await asyncio.sleep(0.01)
        assert "seek" not in thread.events
        thread.hold.set()
        await seeking
        await world.until(lambda: len(world.handed) == 1 + CHUNKS_AT_ONCE)
        assert thread.events.index("fetched") < thread.events.index("seek")
        assert world.firsts() == [0, *range(CHUNKS_AT_ONCE)]

    run(lambda: World(Thread([0]), tmp_path), scenario)


def test_a_chunk_says_where_the_fetch_stood_before_it_whatever_offsets_are_absent(tmp_path: Any) -> None:
    async def scenario(world: World) -> None:
        await world.until(lambda: len(world.handed) == 2)
        assert [(c.starts[ZERO], c.positions[ZERO]) for c in world.handed] == [(4, 8), (8, 13)]

    run(lambda: World(Thread([7, 12]), tmp_path, start=4), scenario)


def test_what_is_gathered_begins_where_its_first_fetch_began(tmp_path: Any) -> None:
    pacing = Pacing(slow_topics={"transactions": 0.05})

    async def scenario(world: World) -> None:
        await world.until(lambda: len(world.handed) == 1)
        chunk = world.handed[0]
        assert [record.offset for record in chunk.records] == [7, 12]
        assert (chunk.starts, chunk.positions) == ({ZERO: 4}, {ZERO: 13})

    run(lambda: World(Thread([7, 12]), tmp_path, start=4, pacing=pacing), scenario)


def test_the_agent_leaves_out_a_chunk_of_a_session_that_is_over() -> None:
    seen: list[Chunk] = []
    finished: list[str] = []
    old = Chunk("transactions", [1], finish=lambda: finished.append("old"), current=lambda: False)
    new = Chunk("transactions", [2], finish=lambda: finished.append("new"))

    async def stream() -> Any:
        yield old
        yield new

    asyncio.run(chunks._agent(seen.append)(stream()))
    assert seen == [new]
    assert finished == ["old", "new"]


def test_a_fetch_that_fails_ends_the_process(tmp_path: Any, monkeypatch: Any) -> None:
    """Faust would log it and never fetch again: a process that runs and does nothing."""
    ended: list[int] = []
    monkeypatch.setattr(chunks.os, "_exit", ended.append)

    async def scenario(world: World) -> None:
        world.thread.fails = AttributeError("a mistake of ours")
        await world.until(lambda: bool(ended))

    run(lambda: World(Thread(list(range(CHUNKS_AT_ONCE))), tmp_path), scenario)
    assert ended == [chunks.EXIT_HANDLER_FAILED]


def test_partitions_are_given_away_and_taken_only_when_what_was_handled_is_ended(
    tmp_path: Any, monkeypatch: Any
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(chunks.os, "_exit", ended.append)
    monkeypatch.setattr(consumers, "SETTLE_WITHIN_S", 0.05)
    writing = threading.Event()
    waited: list[bool] = []

    def settle() -> None:
        waited.append(writing.wait(1.0))

    async def scenario(world: World) -> None:
        type(world.consumer).settle = staticmethod(settle)
        writing.set()
        await world.revoke()
        await world.assign()
        assert waited == [True, True] and ended == []
        # it does not end: partitions go all the same (their next owner's epoch stops it), but none are taken
        writing.clear()
        await world.revoke()
        assert ended == []
        await world.assign()
        assert ended == [chunks.EXIT_HANDLER_FAILED]
        writing.set()

    run(lambda: World(Thread(list(range(CHUNKS_AT_ONCE))), tmp_path), scenario)


def fetched(*headers: str) -> list[Any]:
    """Records of one partition; each has one header, by its name."""
    return [SimpleNamespace(headers=[(name, b"")]) for name in headers]


def test_the_interval_grows_with_what_a_chunk_held_up_to_its_bound() -> None:
    pacing = Pacing(chunk_interval_s=0.01, longest_interval_s=0.03)
    intervals = [pacing.interval_after({ZERO: fetched(*"x" * n)}) for n in (0, 20, 40, 80, 4096)]
    assert [round(interval, 3) for interval in intervals] == [0.01, 0.015, 0.02, 0.03, 0.03]
    many = {ZERO: fetched(*"x" * 4096)}
    assert Pacing(chunk_interval_s=0.01).interval_after(many) == 0.01
    assert chunks.AT_ONCE.interval_after(many) == 0.0


def test_the_longest_interval_is_waited_where_nobody_waits_for_a_record() -> None:
    pacing = Pacing(
        chunk_interval_s=0.01, longest_interval_s=0.03, slow_topics={"entities": 1.0},
        latency_sensitive=lambda record: record.headers[0][0] != "decided",
    )  # fmt: skip
    items, decided, open_one = {TP("entities", 0): fetched("x")}, fetched("decided"), fetched("decided", "x")
    assert pacing.interval_after({ZERO: decided}) == pacing.interval_after({**items, ZERO: decided}) == 0.03
    assert pacing.interval_after({ZERO: open_one}) < 0.02
    # items say nothing about transactions: those that come next may be waited for
    assert pacing.interval_after(items) < 0.02 and pacing.interval_after({}) == 0.01
