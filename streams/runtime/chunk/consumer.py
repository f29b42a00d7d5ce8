"""Faust's consumer, changed to yield one message per fetch and topic and to commit only finished chunks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import monotonic
from typing import Any

import aiokafka
from aiokafka.consumer import fetcher
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.runtime.chunk.aside import Aside, Piece
from streams.runtime.chunk.batches import BoundedRecords
from streams.runtime.chunk.chunk import Chunk, Positions
from streams.runtime.chunk.fetched_record import use_fetched_records
from streams.runtime.chunk.pacing import AT_ONCE, BUSY_FETCH_BYTES, BUSY_GAP_S, Pacing

logger = logging.getLogger(__name__)

EXIT_HANDLER_FAILED = 70

#: most records of one chunk: bounds its memory and the time it takes
MAX_CHUNK_RECORDS = 4096

#: one being handled, one that the broker acknowledges, one being written; more would use memory and be fetched earlier than needed
CHUNKS_AT_ONCE = 3

#: chunks that are handled must be finished within this; after it the next owner of the partitions stops their writes
SETTLE_WITHIN_S = 5.0

#: longest time that a fetch waits for a first record
FETCH_WAIT_MS = 500


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with range assignment (co-partitioned topics stay together) and commits that never raise."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        # the fetcher takes the class from its module; without that, one batch can end every fetch, or the memory
        fetcher.MemoryRecords = BoundedRecords
        self._assignor = RangePartitionAssignor
        use_fetched_records()
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
            **driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
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
            # the position stored with the state, or the next commit, covers this one
            logger.warning("offsets were not committed (%s); the next commit covers them", error)
            return False
        return True


class ChunkConsumer(driver.Consumer):
    """Yields one message per fetch and topic, and commits finished chunks."""

    #: set by ``run_chunk_app`` on the subclass it makes
    aside: Aside
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
        # incremented at every rebalance: what was fetched before it is fetched again, here or by another worker
        self._session = 0
        self._fetched_in = 0
        self._next: dict[TP, int] = {}
        # a fetch and a seek never overlap
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
                await self._hand_on(fetcher, chunk)
            if records and 0 < self.sample_above < sum(map(len, records.values())):
                await self._skip_to_end(records)

    async def _hand_on(self, fetcher: Any, chunk: Chunk) -> None:
        """Hand a chunk on, without what is set aside; in pieces where one of its records may have ended a worker."""
        pieces = [Piece(chunk, alone=False)]
        if self.aside.concerns(chunk):
            # in another thread: it waits until the broker has the dead letters
            pieces = await asyncio.get_running_loop().run_in_executor(None, self.aside.pieces, chunk)
        for piece in pieces:
            if await self._take_room(fetcher, piece.chunk, CHUNKS_AT_ONCE if piece.alone else 1):
                await self.callback(self._message(piece.chunk))

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        async with self._fetching:
            self._fetched_in = self._session
            return await super()._getmany(active_partitions, timeout)

    async def _skip_to_end(self, partitions: Iterable[TP]) -> None:
        """Seek to the end of the partitions. Skipped records count as read once the next chunk is finished."""
        async with self._fetching:
            if self._fetched_in != self._session:
                return
            places = [TopicPartition(tp.topic, tp.partition) for tp in partitions]
            for place in places:
                self._next.pop(TP(place.topic, place.partition), None)
            try:
                await self._thread.call_thread(self._thread._ensure_consumer().seek_to_end, *places)
            except (KafkaError, TimeoutError) as error:
                # partitions were reassigned, or the broker is away: all records are read, which is only slower
                logger.warning("the sampling consumer could not skip to the end of its partitions: %s", error)

    def _pace_at_broker(self, gap_s: float) -> None:
        """Make the broker gather records while it is busy and answer at once while it is quiet: a fetch costs 1 ms of CPU."""
        fetcher = self._thread._ensure_consumer()._fetcher
        busy = gap_s < BUSY_GAP_S
        fetcher._fetch_min_bytes = BUSY_FETCH_BYTES if busy else self.fetch_min_bytes
        fetcher._fetch_max_wait_ms = round(self._interval_s * 1000) if busy else FETCH_WAIT_MS

    def _due(self, chunks: list[Chunk], now: float) -> list[Chunk]:
        """The chunks to hand on now. Chunks of slow topics are merged until their interval is over or they are full.

        They are not left with aiokafka, because it fetches nothing for 0.1 s while any partition has unread records.
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
        """The longest time that a fetch may wait for records, seconds."""
        if not self._held:
            return 1.0
        return max(0.001, min(1.0, *(self._held_until[topic] - monotonic() for topic in self._held)))

    async def _take_room(self, fetcher: Any, chunk: Chunk, permits: int) -> bool:
        """Wait for permits. Returns False, with none taken, if the chunk must not be handed on any more."""
        room, taken = self._room, 0
        while not (self.should_stop or fetcher.should_stop) and chunk.current():
            try:
                await asyncio.wait_for(room.acquire(), timeout=1.0)
            except TimeoutError:
                continue
            taken += 1
            if taken == permits and chunk.current():
                # none of them may refer to the chunk: a cycle would keep its records until garbage collection
                chunk.begin = partial(self.aside.begin, _beginning(chunk), chunk.positions)
                chunk.forgive = partial(self.aside.forgive, chunk.positions)
                chunk.finish = partial(self._finished, chunk.session, chunk.positions, room, permits)
                return True
        for _ in range(taken):
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
        return list(by_topic.values())

    def _new_chunk(self, topic: str) -> Chunk:
        # must not refer to the chunk either
        return Chunk(topic, [], session=self._session, current=partial(self._is_current, self._session))

    def _is_current(self, session: int) -> bool:
        return session == self._session

    def _message(self, chunk: Chunk) -> ConsumerMessage:
        # all its records may be set aside
        first = chunk.records[0] if chunk.records else None
        tp, at_s = next(iter(chunk.positions)), first.timestamp / 1000 if first is not None else 0.0
        return ConsumerMessage(
            chunk.topic, tp.partition, chunk.starts[tp], at_s, 0, [],
            None, chunk, None, 0, 0, tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    def _finished(
        self, session: int, positions: Mapping[TP, int], room: asyncio.Semaphore, permits: int
    ) -> None:
        self.aside.finish(positions)
        if session == self._session:
            self._handled.update(positions)
        for _ in range(permits):
            room.release()

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit the positions of handled chunks that are not committed yet."""
        # Faust's own record of acknowledged offsets is not used: keep it from growing
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
        """Drop fetched chunks that are not handled yet (they are fetched again), and wait for those that are being committed."""
        self._session += 1
        # the partitions' next owner stops writes that are not finished by then
        await self._settled()
        await super().on_partitions_revoked(revoked)

    async def _settled(self) -> bool:
        """Wait up to SETTLE_WITHIN_S until all handled chunks are finished; returns whether they are."""
        settle = type(self).settle
        if settle is None:
            return True
        try:
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, settle), SETTLE_WITHIN_S)
        except TimeoutError:
            return False
        return True

    async def perform_seek(self) -> None:
        """After an assignment: seek to the positions of the state, else to the committed offsets. Faust then resumes the flow."""
        self._session += 1
        self.stop_flow()
        async with self._fetching:
            self.aside.assigned(list(self.assignment()))
            await self.seek_to_committed()
            places = await self._seek_to_state()
            self._begin(places)

    async def _seek_to_state(self) -> dict[TP, int]:
        start = type(self).start_positions
        if start is None:
            return {}
        if not await self._settled():
            # a write still in progress would be taken for one of the session that begins here
            logger.error(
                "chunks from before an assignment were not finished within %g s: restarting", SETTLE_WITHIN_S
            )
            os._exit(EXIT_HANDLER_FAILED)
        assigned = [(tp.topic, tp.partition) for tp in self.assignment()]
        positions = await asyncio.get_event_loop().run_in_executor(None, start, assigned)
        places = {TP(topic, partition): offset for (topic, partition), offset in positions.items()}
        if places:
            await self.seek_wait(places)
        return places

    def _begin(self, places: dict[TP, int]) -> None:
        """Start the new session: only what is fetched from here on counts."""
        self._next = places
        self._handled.clear()
        self._committed.clear()
        self._held.clear()
        # chunks of the previous session are dropped and may never finish: release whoever waits for their permits
        before, self._room = self._room, asyncio.Semaphore(CHUNKS_AT_ONCE)
        for _ in range(CHUNKS_AT_ONCE):
            before.release()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's per-record livelock detector does not apply to chunks; lag is a metric."""


def _beginning(chunk: Chunk) -> Mapping[TP, int]:
    """Where a chunk's records begin: in a piece of one partition with its first record, as the log may have gaps before it."""
    if len(chunk.positions) > 1 or not chunk.records:
        return chunk.starts
    return dict.fromkeys(chunk.positions, chunk.records[0].offset)
