"""Faust, one chunk a fetch: what a consumer fetched from a topic arrives as one message, is handled as columns, committed as one.

Faust's own way makes every record an event of its own (75-88 us each, decision 2). Here its consumer yields one
message per fetch and topic, carrying the records of all partitions; the offsets committed are those of chunks that
``handle`` has returned for, never ahead of the work. Faust keeps the group, the rebalancing and the life cycle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import aiokafka
import faust
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.metrics import CONSUMER_LAG
from streams.process import Process, quiet_collector
from streams.topics import Topic

logger = logging.getLogger(__name__)

#: (topic, partition) -> next offset to read
Positions = dict[tuple[str, int], int]
EXIT_HANDLER_FAILED = 70
#: records of one chunk at most: bounds memory and the time that one chunk takes
MAX_CHUNK_RECORDS = 4096
#: one at work and one that waits, or is being ended: more would only be memory, and fetched earlier than need be
CHUNKS_AT_ONCE = 2
#: chunks that are handled are ended within this, or whoever takes the partitions stops them
SETTLE_WITHIN_S = 5.0
#: a fetch waits so long for a first record
FETCH_WAIT_MS = 500


@dataclass
class Chunk:
    """Records of one topic from one fetch, per partition in offset order."""

    topic: str
    records: list[Any]
    #: per partition the offset after its last record: where the next chunk begins
    positions: dict[TP, int] = field(default_factory=dict)
    #: per partition where the fetch stood before its first record: the end of the chunk before, or where the session began
    starts: dict[TP, int] = field(default_factory=dict)
    #: tells the consumer that the work is done; Faust's own acknowledgement also comes for chunks that it skipped
    finish: Callable[[], None] = lambda: None
    #: the consumer's session that fetched it, and whether that session still runs
    session: int = 0
    current: Callable[[], bool] = lambda: True

    def partitions(self) -> list[int]:
        """The partitions that this chunk holds records of, ascending."""
        return sorted(tp.partition for tp in self.positions)


@dataclass(frozen=True)
class Pacing:
    """How often chunks are taken: cycles cost, not records.

    ``chunk_interval_s``: least time between two chunks; what arrives meanwhile is one. ``slow_topics``: topics that are
    looked at only every so many seconds, for what nobody waits for. ``at_broker``: once chunks follow each other closely, it is
    the broker that waits out the interval before it answers; in quiet times it answers at once. Waiting here instead
    would let records grow old twice: what a fetch brought early waits here, and what came after it waits there.
    ``longest_interval_s``: the interval grows by itself with what the chunk before held, up to this: then it is processor time
    that is short, and waiting a little costs less than working in small pieces. ``hurried``: whether somebody waits for
    a record of the other topics; after a fetch in which nobody does, the longest interval is waited.
    """

    chunk_interval_s: float = 0.0
    longest_interval_s: float = 0.0
    at_broker: bool = False
    slow_topics: Mapping[str, float] = field(default_factory=dict)
    hurried: Callable[[Any], bool] = lambda record: True

    def interval_after(self, fetched: Mapping[TP, Sequence[Any]]) -> float:
        """Least time between a chunk of these records and the next, seconds."""
        longest_s = max(self.chunk_interval_s, self.longest_interval_s)
        count, waited_for = 0, None
        for place, records in fetched.items():
            count += len(records)
            if records and place.topic not in self.slow_topics:
                waited_for = waited_for or any(map(self.hurried, records))
        if waited_for is False:
            return longest_s
        return min(self.chunk_interval_s * (1 + count / DOUBLE_RECORDS), longest_s)


AT_ONCE = Pacing()
#: so many records in a chunk double the interval
DOUBLE_RECORDS = 40
#: chunks closer than this are a busy time
BUSY_GAP_S = 0.05
#: no fetch gathers more than this, however long it may wait
BUSY_FETCH_BYTES = 2_000_000


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with range assignment (co-partitioned topics stay together) and commits that never crash."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        self._assignor = RangePartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=MAX_CHUNK_RECORDS,
            max_poll_interval_ms=300_000,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_min_bytes=self.consumer.fetch_min_bytes,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            rebalance_timeout_ms=10_000,
            isolation_level="read_committed",
            metadata_max_age_ms=10_000,
        )

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        consumer = self._ensure_consumer()
        assigned = self.assignment()
        ours = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in assigned
        }
        try:
            await consumer.commit(ours)
        except KafkaError as error:
            # the position beside the state, or the next commit, covers this one
            logger.warning("offsets were not committed (%s); the next commit covers them", error)
            return False
        return True


class ChunkConsumer(driver.Consumer):
    """Yields one message per fetch and topic, and commits what was handled."""

    #: set by ``run_chunk_app`` on the subclass it makes
    start_positions: Callable[[list[tuple[str, int]]], Positions] | None = None
    settle: Callable[[], None] | None = None
    fetch_min_bytes: int = 1
    pacing: Pacing = AT_ONCE
    sample_above: int = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handled: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._room = asyncio.Semaphore(CHUNKS_AT_ONCE)
        # raised whenever partitions come or go: what was fetched before is fetched again, here or elsewhere
        self._session = 0
        self._fetched_in = 0
        self._next: dict[TP, int] = {}
        # a fetch runs wholly before a seek or wholly after it
        self._fetching = asyncio.Lock()
        self._fetched_at = 0.0
        self._interval_s = self.pacing.chunk_interval_s
        self._held: dict[str, Chunk] = {}
        self._held_until: dict[str, float] = {}

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            await self._fetch_chunks(fetcher)
        except Exception:  # the process edge: Faust would log it and go on without ever fetching again
            logger.exception("fetching failed")
            os._exit(EXIT_HANDLER_FAILED)

    async def _fetch_chunks(self, fetcher: Any) -> None:
        while not (self.should_stop or fetcher.should_stop):
            if not self.pacing.at_broker:
                await asyncio.sleep(max(0.0, self._fetched_at + self._interval_s - monotonic()))
            try:
                records, active = await self._wait_next_records(self._patience())
            except self.consumer_stopped_errors:
                return
            if not self.flow_active or self._fetched_in != self._session:
                continue
            now = monotonic()
            gap_s = now - self._fetched_at
            if records:
                self._fetched_at = now
                self._interval_s = self.pacing.interval_after(records)
            if self.pacing.at_broker:
                self._pace_at_broker(gap_s)
            for chunk in self._due(self._chunks(records or {}, active), now):
                if await self._take_room(fetcher, chunk):
                    await self.callback(self._message(chunk))
            if records and 0 < self.sample_above < sum(map(len, records.values())):
                await self._skip_to_end(records)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        async with self._fetching:
            self._fetched_in = self._session
            return await super()._getmany(active_partitions, timeout)

    async def _skip_to_end(self, partitions: Iterable[TP]) -> None:
        """Read on at what comes from now on; what lies between is left out, and its offsets count as read with the next chunk."""
        async with self._fetching:
            if self._fetched_in != self._session:
                return
            places = [TopicPartition(tp.topic, tp.partition) for tp in partitions]
            for place in places:
                self._next.pop(TP(place.topic, place.partition), None)
            try:
                await self._thread.call_thread(self._thread._ensure_consumer().seek_to_end, *places)
            except (KafkaError, TimeoutError) as error:
                # partitions have moved, or the broker is away: then all is read, which is only slower
                logger.warning("a sampler did not get to the end of its partitions: %s", error)

    def _pace_at_broker(self, gap_s: float) -> None:
        """Let the broker gather while it is busy, answer at once when it is quiet: a fetch costs a millisecond of CPU."""
        fetcher = self._thread._ensure_consumer()._fetcher
        busy = gap_s < BUSY_GAP_S
        fetcher._fetch_min_bytes = BUSY_FETCH_BYTES if busy else self.fetch_min_bytes
        fetcher._fetch_max_wait_ms = round(self._interval_s * 1000) if busy else FETCH_WAIT_MS

    def _due(self, chunks: list[Chunk], now: float) -> list[Chunk]:
        """What is handed on now: slow topics are gathered until their time has come, or until they are a full chunk.

        They are gathered here and not left with aiokafka, which fetches nothing for 0.1 s while any partition is unread.
        """
        slow = self.pacing.slow_topics
        if not slow:
            return chunks
        ready = []
        for chunk in chunks:
            if chunk.topic not in slow:
                ready.append(chunk)
            elif chunk.topic in self._held and self._held[chunk.topic].session == chunk.session:
                held = self._held[chunk.topic]
                held.records.extend(chunk.records)
                held.positions.update(chunk.positions)
                held.starts = {**chunk.starts, **held.starts}
            else:
                self._held[chunk.topic] = chunk
                self._held_until[chunk.topic] = now + slow[chunk.topic]
        for topic in list(self._held):
            if now >= self._held_until[topic] or len(self._held[topic].records) >= MAX_CHUNK_RECORDS:
                ready.append(self._held.pop(topic))
        return ready

    def _patience(self) -> float:
        """How long a fetch may wait for records, seconds."""
        if not self._held:
            return 1.0
        return max(0.001, min(1.0, *(self._held_until[topic] - monotonic() for topic in self._held)))

    async def _take_room(self, fetcher: Any, chunk: Chunk) -> bool:
        """Wait for a permit; False, and none taken, when the chunk must not be handed on any more."""
        while not (self.should_stop or fetcher.should_stop) and chunk.current():
            room = self._room
            try:
                await asyncio.wait_for(room.acquire(), timeout=1.0)
            except TimeoutError:
                continue
            if chunk.current():
                chunk.finish = partial(self._finished, chunk.session, chunk.positions, room)
                return True
            room.release()
        return False

    def _chunks(self, records: Mapping[TP, list[Any]], active: Iterable[TP] | None) -> list[Chunk]:
        allowed = None if active is None else set(active)
        by_topic: dict[str, Chunk] = {}
        for tp, fetched in records.items():
            if not fetched or (allowed is not None and tp not in allowed):
                continue
            chunk = by_topic.get(tp.topic) or by_topic.setdefault(tp.topic, self._new_chunk(tp.topic))
            chunk.records.extend(fetched)
            position = fetched[-1].offset + 1
            place = TP(tp.topic, tp.partition)
            chunk.starts[place] = self._next.get(place, fetched[0].offset)
            chunk.positions[place] = self._next[place] = position
            highwater = self.highwater(tp)
            if highwater is not None:
                CONSUMER_LAG.labels(self.app.conf.id, tp.topic, tp.partition).set(
                    max(0, highwater - position)
                )
        return list(by_topic.values())

    def _new_chunk(self, topic: str) -> Chunk:
        # neither this nor ``finish`` may hold the chunk: in a circle, its records would wait for the garbage collector
        return Chunk(topic, [], session=self._session, current=partial(self._is_current, self._session))

    def _is_current(self, session: int) -> bool:
        return session == self._session

    def _message(self, chunk: Chunk) -> ConsumerMessage:
        first = chunk.records[0]
        tp = next(iter(chunk.positions))
        return ConsumerMessage(
            chunk.topic, tp.partition, first.offset, first.timestamp / 1000, first.timestamp_type, [],
            None, chunk, None, 0, 0, tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    def _finished(self, session: int, positions: Mapping[TP, int], room: asyncio.Semaphore) -> None:
        if session == self._session:
            self._handled.update(positions)
        room.release()

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit the positions of handled chunks that are not committed yet."""
        # Faust's own bookkeeping of acknowledged offsets is not used: keep it from growing
        self._acked.clear()
        self._acked_index.clear()
        assigned = self.assignment()
        pending = {
            tp: offset
            for tp, offset in self._handled.items()
            if tp in assigned and self._committed.get(tp) != offset
        }
        if not pending or not await self._commit(pending):
            return False
        self._committed.update(pending)
        return True

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """What was fetched and not handled yet is another worker's now, or is fetched again; what is handled is ended first."""
        self._session += 1
        # what is not ended by then is stopped by whoever has the partitions next
        await self._settled()
        await super().on_partitions_revoked(revoked)

    async def _settled(self) -> bool:
        """Wait until all that was handled is ended; whether it is, after SETTLE_WITHIN_S."""
        settle = type(self).settle
        if settle is None:
            return True
        try:
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, settle), SETTLE_WITHIN_S)
        except TimeoutError:
            return False
        return True

    async def perform_seek(self) -> None:
        """After an assignment: start where the state says, else where the group committed. Faust resumes the flow after it."""
        self._session += 1
        self.stop_flow()
        async with self._fetching:
            await self.seek_to_committed()
            places = await self._seek_to_state()
            self._begin(places)

    async def _seek_to_state(self) -> dict[TP, int]:
        start = type(self).start_positions
        if start is None:
            return {}
        if not await self._settled():
            # what is still being written would take the session that begins here for its own
            logger.error(
                "chunks from before an assignment are not ended within %g s: starting again", SETTLE_WITHIN_S
            )
            os._exit(EXIT_HANDLER_FAILED)
        assigned = [(tp.topic, tp.partition) for tp in self.assignment()]
        positions = await asyncio.get_event_loop().run_in_executor(None, start, assigned)
        places = {TP(topic, partition): offset for (topic, partition), offset in positions.items()}
        if places:
            await self.seek_wait(places)
        return places

    def _begin(self, places: dict[TP, int]) -> None:
        """All is sought: from here on only what is fetched now counts."""
        self._next = places
        self._handled.clear()
        self._committed.clear()
        self._held.clear()
        # chunks of the session before are dropped and may never finish; who waits for their room is let go
        before, self._room = self._room, asyncio.Semaphore(CHUNKS_AT_ONCE)
        for _ in range(CHUNKS_AT_ONCE):
            before.release()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's per-record livelock detector does not apply to chunks; lag is a metric."""


def run_chunk_app(
    process: Process,
    group: str,
    topics: list[Topic],
    handle: Callable[[Chunk], Future[None] | None],
    start_positions: Callable[[list[tuple[str, int]]], Positions] | None = None,
    *,
    settle: Callable[[], None] | None = None,
    tick: Callable[[], None] | None = None,
    tick_s: float = 1.0,
    on_stop: Callable[[], None] | None = None,
    fetch_min_bytes: int = 1,
    pacing: Pacing = AT_ONCE,
    sample_above: int = 0,
) -> None:
    """Run one Faust worker until SIGTERM: ``handle`` gets each chunk, ``tick`` runs between chunks every ``tick_s``.

    ``handle`` and ``tick`` run in one thread, ``start_positions`` in another, never while one of them runs.

    Where ``handle`` returns a Future, its chunk is done when that is; the next one may be handled before. ``settle`` waits until
    all are done, before partitions are given away and before ``start_positions``.

    ``start_positions`` is asked, on every assignment, where to start each (topic, partition); those it leaves out start
    at the group's committed offset. A ``handle`` that raises ends the process (exit code 70) and the supervisor
    restarts it: nothing is committed past the failed chunk. With ``fetch_min_bytes`` above 1 a fetch waits for that much,
    or half a second: fewer, larger chunks, for what is in no hurry. Where a fetch gives more than ``sample_above`` records
    (0: never), the next begins at the end of the log: for those who look at a sample only, so that reading costs no more.
    """
    starting = threading.Lock()
    start = _alone(start_positions, starting) if start_positions else None
    app = _new_app(process, group, start, fetch_min_bytes, pacing, sample_above, settle)
    for topic in topics:
        channel = app.topic(topic.name, key_serializer="raw", value_serializer="raw", allow_empty=True)
        app.agent(channel, name=f"{group}-{topic.name}", concurrency=1)(_agent(handle))
    if tick is not None:
        app.timer(interval=tick_s)(_ticker(tick, starting))
    worker = faust.Worker(
        app,
        loglevel="WARNING",
        override_logging=False,
        redirect_stdouts=False,
        quiet=True,
        workdir=process.settings.home,
    )
    quiet_collector()
    logger.info("worker of group %s starts on %s", group, ", ".join(topic.name for topic in topics))
    try:
        worker.execute_from_commandline()
    finally:
        if on_stop is not None:
            on_stop()
    logger.info("worker of group %s stopped", group)


def _new_app(
    process: Process,
    group: str,
    start: Callable[[list[tuple[str, int]]], Positions] | None,
    fetch_min_bytes: int,
    pacing: Pacing,
    sample_above: int = 0,
    settle: Callable[[], None] | None = None,
) -> faust.App:
    app = faust.App(
        group,
        broker=f"kafka://{process.settings.kafka}",
        store="memory://",
        datadir=str(process.settings.run_dir / f"faust-{process.name}"),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_client_id=process.name,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.5,
        broker_request_timeout=30.0,
        broker_commit_interval=1.0,
        stream_wait_empty=True,
        stream_processing_timeout=600.0,
    )
    consumer = type(
        "Consumer",
        (ChunkConsumer,),
        {
            "start_positions": staticmethod(start) if start else None,
            "settle": staticmethod(settle) if settle else None,
            "fetch_min_bytes": fetch_min_bytes,
            "pacing": pacing,
            "sample_above": sample_above,
        },
    )
    transport = type("Transport", (driver.Transport,), {"Consumer": consumer})
    app.transport = transport(app.conf.broker, app)
    return app


def _agent(handle: Callable[[Chunk], Future[None] | None]) -> Callable[[Any], Any]:
    async def consume(stream: Any) -> None:
        loop = asyncio.get_running_loop()
        async for chunk in stream:
            if not chunk.current():
                logger.info(
                    "%d records from %s are left out: their partitions moved", len(chunk.records), chunk.topic
                )
                chunk.finish()
                continue
            started = monotonic()
            what = f"chunk of {len(chunk.records)} records from {chunk.topic}"
            try:
                ending = handle(chunk)
            except Exception:  # the process edge: log, stop, let the supervisor restart
                logger.exception("%s failed", what)
                os._exit(EXIT_HANDLER_FAILED)
            if ending is None:
                chunk.finish()
            else:
                ending.add_done_callback(partial(_ended, what, chunk.finish, loop))
            if monotonic() - started > 5:
                logger.warning("a chunk of %d records took %.1f s", len(chunk.records), monotonic() - started)

    return consume


def _ended(
    what: str, finish: Callable[[], None], loop: asyncio.AbstractEventLoop, ending: Future[None]
) -> None:
    """Called in the thread that ended a chunk."""
    error = ending.exception()
    if error is not None:  # the process edge, as above
        logger.error("%s was not ended", what, exc_info=error)
        os._exit(EXIT_HANDLER_FAILED)
        return
    with contextlib.suppress(RuntimeError):
        # the loop is closed: the process ends, and whoever comes next starts from the state
        loop.call_soon_threadsafe(finish)


def _alone(
    start: Callable[[list[tuple[str, int]]], Positions], starting: threading.Lock
) -> Callable[[list[tuple[str, int]]], Positions]:
    def start_alone(assigned: list[tuple[str, int]]) -> Positions:
        with starting:
            return start(assigned)

    return start_alone


def _ticker(tick: Callable[[], None], starting: threading.Lock) -> Callable[[], Any]:
    async def run_tick() -> None:
        if not starting.acquire(blocking=False):
            # partitions are being taken, with the connections that a tick would use
            return
        try:
            tick()
        except Exception:  # the process edge, as above
            logger.exception("periodic work failed")
            os._exit(EXIT_HANDLER_FAILED)
        finally:
            starting.release()

    return run_tick
