"""Leases: who may write a partition's state, and up to which offset it is applied (epoch and position per partition, in Redis).

Leasing a partition raises its epoch. Every write WATCHes the epoch, so a worker that was frozen and lost its partitions cannot
write when it wakes (EXEC fails). Positions are written in the same EXEC as the profiles, so state and position always match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import hiredis

from features.store.keys import epoch_key, position_key
from features.store.redis_client import (
    Command,
    RespClient,
    StoreFull,
    StoreUnavailable,
    check_room,
    retried,
)

#: seconds to wait for room in Redis before the process is restarted; a consumer that waits for 300 s loses its partitions
ROOM_WITHIN_S = 240.0
TopicPartition = tuple[str, int]


class LeaseLost(Exception):
    """Another worker leased the partition: this one must no longer write its state."""


class ChunkOutOfOrder(Exception):
    """A chunk does not start at the leased position: records are missing, or were handled before."""


class StateRegressed(Exception):
    """Redis is behind what this worker wrote (it lost its last writes): start again from the position in Redis."""


#: set while the state is lost or being rebuilt: only the rebuild writes state, and decisions are made without it. It does not expire:
#: an interrupted rebuild leaves profiles that only another rebuild may overwrite.
REBUILDING_KEY = "tollgate:state:rebuilding"


class Shared(NamedTuple):
    """Leases in a form that can be passed to another process."""

    group: str
    epochs: dict[TopicPartition, bytes]
    positions: dict[TopicPartition, int]


class Leases:
    """The partitions that one worker holds in one group."""

    def __init__(self, client: RespClient, group: str) -> None:
        self._client = client
        self._group = group
        self._epochs: dict[TopicPartition, bytes] = {}
        self._positions: dict[TopicPartition, int] = {}

    def lease(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Lease partitions; returns the position of each, 0 where none is stored. Earlier leases are dropped."""
        commands: list[Command] = []
        for tp in partitions:
            commands += [("INCR", self._epoch_key(tp)), ("GET", self._position_key(tp))]
        replies = self._client.with_retry(commands)
        self._epochs = {tp: str(replies[2 * i]).encode() for i, tp in enumerate(partitions)}
        self._positions = {tp: int(replies[2 * i + 1] or 0) for i, tp in enumerate(partitions)}
        return dict(self._positions)

    def known(self, partitions: Sequence[TopicPartition]) -> bool:
        """Whether Redis holds a position of any of these partitions; False if it lost everything."""
        return any(position is not None for position in self.stored(partitions).values())

    def stored(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        """The stored position of each partition, whoever holds its lease; None where none is stored."""
        (values,) = self._client.with_retry([self.ask_stored(partitions)])
        return {
            tp: None if value is None else int(value) for tp, value in zip(partitions, values, strict=True)
        }

    def ask_stored(self, partitions: Sequence[TopicPartition]) -> Command:
        """The command of ``stored``, for callers that read state and positions in one round trip."""
        return ("MGET", *(self._position_key(tp) for tp in partitions))

    def share(self) -> Shared:
        """These leases, for processes that write on behalf of this one (``Leases.shared``)."""
        return Shared(self._group, dict(self._epochs), dict(self._positions))

    @classmethod
    def shared(cls, client: RespClient, what: Shared) -> Leases:
        """The leases of another process of the same job; the next ``lease`` of these partitions locks both out."""
        leases = cls(client, what.group)
        leases._epochs, leases._positions = dict(what.epochs), dict(what.positions)
        return leases

    def place(self, positions: Mapping[TopicPartition, int]) -> list[Command]:
        """Commands that set positions: the last step of a rebuild."""
        return [("SET", self._position_key(tp), position) for tp, position in positions.items()]

    def forget(self, partitions: Sequence[TopicPartition]) -> list[Command]:
        """Commands that delete positions. Epochs stay: an old worker must never hold an epoch that is valid again."""
        return [("DEL", *(self._position_key(tp) for tp in partitions))]

    def look(self, partitions: Sequence[TopicPartition]) -> list[Command]:
        """The command to send before reading state that is written back later; its reply is for ``check_look``."""
        epochs, positions = map(self._epoch_key, partitions), map(self._position_key, partitions)
        return [("MGET", *epochs, *positions)]

    def check_look(
        self,
        partitions: Sequence[TopicPartition],
        values: Sequence[bytes | None],
        known: Mapping[TopicPartition, int],
    ) -> None:
        """Compare the reply of ``look`` with this worker's leases, while its own writes may be under way.

        ``known``: positions that were written when ``look`` was sent. Raises: LeaseLost, StateRegressed.
        """
        for index, tp in enumerate(partitions):
            self._compare(tp, values[index], int(values[len(partitions) + index] or 0), known[tp])

    def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The position that this worker wrote last for each partition; 0 for partitions that it does not hold."""
        return {tp: self._positions.get(tp, 0) for tp in partitions}

    def write(
        self,
        partitions: Sequence[TopicPartition],
        starts: Mapping[TopicPartition, int],
        writes: Sequence[Command],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """``guard``, ``check`` and ``commit`` for a chunk. Raises the errors of ``check`` and ``commit``."""
        self.check(partitions, self._client.with_retry(self.guard(partitions)), starts)
        self.commit(partitions, writes, positions)

    def guard(self, partitions: Sequence[TopicPartition]) -> list[Command]:
        """Commands to send before reading state; two replies for ``check``."""
        keys = [self._epoch_key(tp) for tp in partitions]
        return [("WATCH", *keys), ("MGET", *keys, *(self._position_key(tp) for tp in partitions))]

    def check(
        self,
        partitions: Sequence[TopicPartition],
        replies: Sequence[Any],
        starts: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        """Compare the replies of ``guard`` with this worker's leases.

        ``starts``: the fetch position before each partition's first record; it must be the leased position. Offsets may have gaps, so
        the first record's own offset cannot be compared.

        Raises:
            LeaseLost: the epoch was raised, or another worker's position is stored. StateRegressed: the position is behind.
            ChunkOutOfOrder: ``starts`` is not the leased position.
        """
        values = replies[1]
        for index, tp in enumerate(partitions):
            stored = int(values[len(partitions) + index] or 0)
            self._compare(tp, values[index], stored, self._positions.get(tp, 0))
            if stored > self._positions[tp]:
                raise LeaseLost(
                    f"{tp[0]}[{tp[1]}]: state is at {stored}, beyond {self._positions[tp]} that this worker wrote"
                )
            start = self._positions[tp] if starts is None else starts.get(tp, self._positions[tp])
            if start != self._positions[tp]:
                raise ChunkOutOfOrder(
                    f"{tp[0]}[{tp[1]}]: a chunk begins at {start}, the state ends at {self._positions[tp]}"
                )

    def _compare(self, tp: TopicPartition, epoch: bytes | None, stored: int, written: int) -> None:
        """Raises: LeaseLost, StateRegressed: ``stored`` is behind what this worker has ``written``."""
        if tp not in self._epochs or epoch != self._epochs[tp]:
            raise LeaseLost(f"{tp[0]}[{tp[1]}] was taken by another worker")
        if stored < written:
            raise StateRegressed(f"{tp[0]}[{tp[1]}]: state is at {stored}, this worker wrote {written}")

    def verify(self) -> None:
        """Check between chunks that Redis still holds what this worker wrote; without traffic no chunk would check it.

        A partition that another worker leased is not a loss. If Redis does not answer, the next call checks again.

        Raises:
            StateRegressed: the store is behind.
        """
        partitions = list(self._epochs)
        if not partitions:
            return
        try:
            (values,) = self._client.call(self.guard(partitions)[1:])
        except StoreUnavailable:
            return
        for index, tp in enumerate(partitions):
            epoch, stored = int(values[index] or 0), int(values[len(partitions) + index] or 0)
            own = int(self._epochs[tp])
            if epoch < own or (epoch == own and stored < self._positions[tp]):
                raise StateRegressed(
                    f"{tp[0]}[{tp[1]}]: state is at {stored} in epoch {epoch}, this worker wrote "
                    f"{self._positions[tp]} in epoch {own}"
                )

    def commit(
        self,
        partitions: Sequence[TopicPartition],
        writes: Sequence[Command],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """Write ``writes`` and the new positions in one MULTI/EXEC. Retried when the connection breaks or Redis takes no writes.

        Raises:
            LeaseLost: another worker leased a partition meanwhile. StateRegressed: Redis lost writes.
            StoreFull: Redis has no room, and nothing was written. StoreUnavailable: Redis did not come back in time.
        """
        block: list[Command] = [
            ("MULTI",), *writes, *(("SET", self._position_key(tp), position) for tp, position in positions.items()), ("EXEC",),
        ]  # fmt: skip
        try:
            replies = self._client.call(block)
        except StoreUnavailable:
            replies = self._again(partitions, block, positions)
        check_room(replies)
        result = replies[-1]
        if isinstance(result, hiredis.ReplyError):
            raise StoreUnavailable(f"the store refused a write: {result}")
        if result is None:
            raise LeaseLost(f"{partitions} were taken by another worker while a chunk was at work")
        self._positions.update(positions)

    def _again(
        self,
        partitions: Sequence[TopicPartition],
        block: list[Command],
        positions: Mapping[TopicPartition, int],
    ) -> list[Any]:
        """Retry a commit of which EXEC may have happened. All values are absolute, so writing them again is safe."""

        def attempt() -> list[Any]:
            replies = self._client.call(self.guard(partitions))
            values = replies[1][len(partitions) :]
            # without a position to write, there is nothing to compare
            if positions and all(
                int(value or 0) >= positions[tp] for tp, value in zip(partitions, values, strict=True)
            ):
                return [[]]
            self.check(partitions, replies)
            return self._client.call(block)

        return retried(attempt)

    def commit_once_there_is_room(
        self,
        partitions: Sequence[TopicPartition],
        writes: Sequence[Command],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """``commit``, for workers whose results nobody waits for: they wait while Redis is full.

        Raises:
            StoreFull: there was no room within ``ROOM_WITHIN_S``; other errors as ``commit``.
        """
        try:
            self.commit(partitions, writes, positions)
        except StoreFull:
            # the refused EXEC has ended the WATCH: guard again
            retried(lambda: self.write(partitions, {}, writes, positions), ROOM_WITHIN_S)

    def _epoch_key(self, tp: TopicPartition) -> str:
        return epoch_key(*tp, self._group)

    def _position_key(self, tp: TopicPartition) -> str:
        return position_key(*tp, self._group)
