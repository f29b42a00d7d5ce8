"""Commits a chunk: wait for the broker's acknowledgement of its records, then write profiles and positions to Redis in one EXEC.

``PipelinedCommitter`` does this in two threads, in order, while the next chunk is computed: one waits for the broker, one writes. So the
time per chunk is its computation alone, and a slow write holds up no record that is on its way to the broker. Decision 2 says why this is safe.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple, Protocol

from confluent_kafka import Producer

from features.store.partition_lease import Leases, TopicPartition
from features.store.redis_client import Command, Packed, StoreFull
from streams.runtime.kafka.clients import flush
from streams.runtime.metrics import STORE_FULL

logger = logging.getLogger(__name__)

#: seconds without the broker's acknowledgement before the process gives up and is restarted
ACKNOWLEDGE_WITHIN_S = 150.0
#: longer than two committer may take by their own deadlines: the broker's once, the store's twice
END_WITHIN_S = 1_000.0
#: writes that may wait for room in Redis, bytes; with more, the process is restarted and decides without state until there is room
HELD_BYTES = 256 << 20
#: pause between two attempts to write what waits for room
TRY_AGAIN_S = 0.5


class ChunkCommit(NamedTuple):
    """The commit of a computed chunk; ``starts`` and ``positions`` are its first and next offsets per partition."""

    partitions: Sequence[TopicPartition]
    starts: Mapping[TopicPartition, int]
    positions: Mapping[TopicPartition, int]
    writes: Sequence[Command]
    #: called after the write
    written: Callable[[], None]

    @property
    def size(self) -> int:
        """About the bytes of its writes."""
        return sum(len(write.data) if isinstance(write, Packed) else 100 for write in self.writes)


class _Pending(NamedTuple):
    """A chunk's commit, and what becomes of it."""

    commit: ChunkCommit
    done: Future[None]


class Committer(Protocol):
    """Commits chunks in the given order."""

    def acknowledged(self) -> None:
        """Wait until the broker has acknowledged the records of all chunks so far. Call it before the next chunk produces."""

    def settled(self) -> None:
        """Wait until all chunks so far are written. Call it before reading anything that they write."""

    @property
    def idle(self) -> bool:
        """Whether all chunks so far are written."""

    def end(self, commit: ChunkCommit) -> Future[None] | None:
        """Commit a chunk; returns a Future if the commit is still running."""


class SynchronousCommitter:
    """Commits each chunk before ``end`` returns."""

    def __init__(self, producer: Producer, leases: Leases) -> None:
        self._producer = producer
        self._leases = leases

    def acknowledged(self) -> None:
        """Always so."""

    def settled(self) -> None:
        """Always so."""

    @property
    def idle(self) -> bool:
        """Always so."""
        return True

    def end(self, commit: ChunkCommit) -> Future[None] | None:
        """Raises: DeliveryError, StoreUnavailable, or what ``Leases.write`` raises."""
        self.acknowledge()
        self.write(commit)
        return None

    def acknowledge(self) -> None:
        """First half: wait for the broker."""
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)

    def write(self, commit: ChunkCommit) -> None:
        """Second half: write to Redis."""
        self._leases.write(commit.partitions, commit.starts, commit.writes, commit.positions)
        commit.written()


class CommitFailed(Exception):
    """An earlier chunk could not be committed, so no later one may be."""


class WaitsForRoom(CommitFailed, StoreFull):
    """Redis is full, and earlier chunks wait for room: what they write cannot be read yet."""


class PipelinedCommitter:
    """Commits chunks in two threads; of each, one chunk is in progress and one waits. After a failure it commits no more.

    While Redis is full, chunks count as finished once the broker has them: features go on from the profiles in memory, and the writes
    wait here, in order. A process that ends meanwhile loses none: Redis still holds the position before them, so the next process
    reads their records again.
    """

    def __init__(self, producer: Producer, leases: Leases, held_bytes: int = HELD_BYTES) -> None:
        self._do = SynchronousCommitter(producer, leases)
        self._held: deque[ChunkCommit] = deque()
        self._held_bytes, self._max_held_bytes = 0, held_bytes
        self._produced: queue.Queue[_Pending] = queue.Queue(1)
        self._on_the_log: queue.Queue[_Pending] = queue.Queue(1)
        self._changed = threading.Condition()
        self._given = self._acknowledged = self._written = 0
        self._full = False
        self._failed: BaseException | None = None
        threading.Thread(target=self._acknowledge_all, name="acknowledger", daemon=True).start()
        threading.Thread(target=self._write_all, name="committer", daemon=True).start()

    @property
    def idle(self) -> bool:
        """Whether all chunks so far are written."""
        return self._written == self._given

    def acknowledged(self) -> None:
        """Raises: CommitFailed."""
        self._wait(lambda: self._acknowledged == self._given)

    def settled(self) -> None:
        """Raises: CommitFailed. WaitsForRoom at once: Redis is full."""
        self._wait(lambda: self._written == self._given or self._full)
        if self._full:
            raise WaitsForRoom(f"Redis is full: {self._given - self._written} chunks wait for room")

    def end(self, commit: ChunkCommit) -> Future[None] | None:
        """Raises: CommitFailed, if an earlier chunk failed; the result of this one is in the Future."""
        done: Future[None] = Future()
        self._given += 1
        self._hand(self._produced, _Pending(commit, done))
        return done

    def _hand(self, to: queue.Queue[_Pending], pending: _Pending) -> None:
        """Raises: CommitFailed."""
        # each queue holds one, so that few chunks are unwritten
        self._wait(lambda: not to.full())
        to.put_nowait(pending)

    def _wait(self, until: Callable[[], bool]) -> None:
        give_up = time.monotonic() + END_WITHIN_S
        with self._changed:
            while self._failed is None and not until():
                if not self._changed.wait(give_up - time.monotonic()):
                    raise CommitFailed(f"no chunk was committed within {END_WITHIN_S:g} s")
        if self._failed is not None:
            raise CommitFailed(str(self._failed)) from self._failed

    def _acknowledge_all(self) -> None:
        while self._failed is None:
            pending = self._produced.get()
            self._tell()
            if self._try(self._do.acknowledge, pending.done):
                self._tell(acknowledged=1)
                self._try(partial(self._hand, self._on_the_log, pending), pending.done)

    def _write_all(self) -> None:
        while self._failed is None:
            try:
                commit, done = self._on_the_log.get(timeout=TRY_AGAIN_S if self._held else None)
            except queue.Empty:
                self._try(self._write_held)
                continue
            self._tell()
            self._held.append(commit)
            self._held_bytes += commit.size
            if self._try(self._write_held, done):
                done.set_result(None)

    def _try(self, step: Callable[[], None], done: Future[None] | None = None) -> bool:
        """Whether a step succeeded; if not, no later chunk is committed."""
        try:
            step()
        except BaseException as error:
            with self._changed:
                # of two, what came first is the cause
                self._failed = self._failed or error
            self._tell()
            if done is None:
                logger.exception("chunks that waited for room in Redis cannot be committed")
            else:
                done.set_exception(error)
            return False
        return True

    def _write_held(self) -> None:
        """Write what is not written yet, in order, until Redis has no room."""
        try:
            while self._held:
                self._do.write(self._held[0])
                self._held_bytes -= self._held.popleft().size
                self._tell(written=1)
        except StoreFull as error:
            if self._held_bytes > self._max_held_bytes:
                raise
            self._say_full(full=True, text=str(error))
        else:
            self._say_full(full=False, text="Redis has room again, and all chunks that waited are written")

    def _say_full(self, *, full: bool, text: str) -> None:
        if full != self._full:
            logger.warning("%s", text)
            self._full = full
            STORE_FULL.set(full)
            self._tell()

    def _tell(self, acknowledged: int = 0, written: int = 0) -> None:
        with self._changed:
            self._acknowledged += acknowledged
            self._written += written
            self._changed.notify_all()
