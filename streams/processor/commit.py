"""How a chunk ends: what it produced is acknowledged, then its writes and positions go into the store, in one EXEC.

``PipelinedCommitter`` does so in a thread of its own, in order, while the next chunk is computed: a chunk's time is then its
computing, not the sum of that and two waits. What makes it safe is in decision 2.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from confluent_kafka import Producer

from features.store.partition_lease import Leases, TopicPartition
from features.store.redis_client import Command
from streams.runtime.kafka.clients import flush

#: the broker may be away this long before the process gives up and is restarted
ACKNOWLEDGE_WITHIN_S = 150.0
#: longer than two committer may take by their own deadlines: the broker's once, the store's twice
END_WITHIN_S = 1_000.0


class ChunkCommit(NamedTuple):
    """What is left to do of a computed chunk: ``starts`` and ``positions`` are where it begins and ends."""

    partitions: Sequence[TopicPartition]
    starts: Mapping[TopicPartition, int]
    positions: Mapping[TopicPartition, int]
    writes: Sequence[Command]
    #: called when it is written
    written: Callable[[], None]


class Committer(Protocol):
    """Ends chunks in the order in which they are given."""

    def acknowledged(self) -> None:
        """Wait until the broker has what was produced for all chunks given so far. Before the next produces anything."""

    def settled(self) -> None:
        """Wait until all chunks given so far are written. Before anything of theirs is read from the store."""

    def end(self, commit: ChunkCommit) -> Future[None] | None:
        """End one chunk; a Future where that is not over yet."""


class SynchronousCommitter:
    """Ends each chunk before it returns."""

    def __init__(self, producer: Producer, leases: Leases) -> None:
        self._producer = producer
        self._leases = leases

    def acknowledged(self) -> None:
        """Always so."""

    def settled(self) -> None:
        """Always so."""

    def end(self, commit: ChunkCommit) -> Future[None] | None:
        """Raises: DeliveryError, StoreUnavailable, or what ``Leases.write`` raises."""
        self.acknowledge()
        self.write(commit)
        return None

    def acknowledge(self) -> None:
        """The first half."""
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)

    def write(self, commit: ChunkCommit) -> None:
        """The second half."""
        self._leases.write(commit.partitions, commit.starts, commit.writes, commit.positions)
        commit.written()


class CommitFailed(Exception):
    """A chunk before this one could not be ended: nothing after it may be."""


class PipelinedCommitter:
    """Ends chunks in a thread: one is being ended, one may wait. The first that fails is the last one."""

    def __init__(self, producer: Producer, leases: Leases) -> None:
        self._do = SynchronousCommitter(producer, leases)
        self._waiting: queue.Queue[tuple[ChunkCommit, Future[None]]] = queue.Queue(1)
        self._changed = threading.Condition()
        self._given = self._acknowledged = self._written = 0
        self._failed: BaseException | None = None
        threading.Thread(target=self._run, name="committer", daemon=True).start()

    @property
    def idle(self) -> bool:
        """Whether all chunks given so far are written."""
        return self._written == self._given

    def acknowledged(self) -> None:
        """Raises: CommitFailed."""
        self._wait(lambda: self._acknowledged == self._given)

    def settled(self) -> None:
        """Raises: CommitFailed."""
        self._wait(lambda: self._written == self._given)

    def end(self, commit: ChunkCommit) -> Future[None] | None:
        """Raises: CommitFailed, for a chunk before this one; what befalls this one is in the Future."""
        done: Future[None] = Future()
        # room for one: whoever comes third waits here for the first
        self._wait(lambda: not self._waiting.full())
        self._given += 1
        self._waiting.put_nowait((commit, done))
        return done

    def _wait(self, until: Callable[[], bool]) -> None:
        give_up = time.monotonic() + END_WITHIN_S
        with self._changed:
            while self._failed is None and not until():
                if not self._changed.wait(give_up - time.monotonic()):
                    raise CommitFailed(f"no chunk was ended within {END_WITHIN_S:g} s")
        if self._failed is not None:
            raise CommitFailed(str(self._failed)) from self._failed

    def _run(self) -> None:
        while self._failed is None:
            commit, done = self._waiting.get()
            self._tell()
            try:
                self._do.acknowledge()
                self._tell(acknowledged=1)
                self._do.write(commit)
            except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
                self._failed = error
                self._tell()
                done.set_exception(error)
            else:
                self._tell(written=1)
                done.set_result(None)

    def _tell(self, acknowledged: int = 0, written: int = 0) -> None:
        with self._changed:
            self._acknowledged += acknowledged
            self._written += written
            self._changed.notify_all()
