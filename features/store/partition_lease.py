"""Who may write a partition's state, and how far it is applied: an epoch and a position per partition, beside the state.

Taking a partition raises its epoch; every write WATCHes it, so that a worker that was frozen and lost its partitions
cannot write when it wakes (EXEC fails). Positions are written in the same EXEC as the profiles: state and position
are never apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import hiredis

from features.store.keys import epoch_key, position_key
from features.store.redis_client import Command, RespClient, StoreUnavailable, patiently

TopicPartition = tuple[str, int]


class LeaseLost(Exception):
    """Another worker took the partition: this one must not write its state any more."""


class ChunkOutOfOrder(Exception):
    """A chunk does not begin where the leased position ends: something between is missing, or it was handled before."""


class StateRegressed(Exception):
    """The store is behind what this worker wrote (it lost its last writes): start again from the store's position."""


#: set while the state is lost or being made again: nobody but the rebuild writes state, decisions go on without it.
#: It does not expire: a rebuild that died half-way left profiles behind that only another one may overwrite.
REBUILDING_KEY = "tollgate:state:rebuilding"


class Shared(NamedTuple):
    """Leases on their way to another process."""

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
        """Take partitions and learn where to start: 0 where nothing is known. Forgets what was leased before."""
        commands: list[Command] = []
        for tp in partitions:
            commands += [("INCR", self._epoch_key(tp)), ("GET", self._position_key(tp))]
        replies = self._client.with_retry(commands)
        self._epochs = {tp: str(replies[2 * i]).encode() for i, tp in enumerate(partitions)}
        self._positions = {tp: int(replies[2 * i + 1] or 0) for i, tp in enumerate(partitions)}
        return dict(self._positions)

    def known(self, partitions: Sequence[TopicPartition]) -> bool:
        """Whether the store holds a position of any of these partitions; False for a store that lost everything."""
        return any(position is not None for position in self.stored(partitions).values())

    def stored(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        """How far the store says that each partition is applied, whoever holds it; None where nothing is known."""
        (values,) = self._client.with_retry([self.ask_stored(partitions)])
        return {
            tp: None if value is None else int(value) for tp, value in zip(partitions, values, strict=True)
        }

    def ask_stored(self, partitions: Sequence[TopicPartition]) -> Command:
        """The command behind ``stored``, for who reads state and how far it is applied at one moment."""
        return ("MGET", *(self._position_key(tp) for tp in partitions))

    def share(self) -> Shared:
        """What was leased, for other processes that write for this one: they hold it as ``Leases.shared``."""
        return Shared(self._group, dict(self._epochs), dict(self._positions))

    @classmethod
    def shared(cls, client: RespClient, what: Shared) -> Leases:
        """The leases of another process of the same work; whoever leases next shuts out both."""
        leases = cls(client, what.group)
        leases._epochs, leases._positions = dict(what.epochs), dict(what.positions)
        return leases

    def place(self, positions: Mapping[TopicPartition, int]) -> list[Command]:
        """Commands that set positions: the last step of a rebuild."""
        return [("SET", self._position_key(tp), position) for tp, position in positions.items()]

    def forget(self, partitions: Sequence[TopicPartition]) -> list[Command]:
        """Commands that take positions away. Epochs stay: a worker of before must never hold one that counts again."""
        return [("DEL", *(self._position_key(tp) for tp in partitions))]

    def look(self, partitions: Sequence[TopicPartition]) -> list[Command]:
        """The command to send before a read of state whose writes come later; its reply is for ``check_look``."""
        epochs, positions = map(self._epoch_key, partitions), map(self._position_key, partitions)
        return [("MGET", *epochs, *positions)]

    def check_look(
        self,
        partitions: Sequence[TopicPartition],
        values: Sequence[bytes | None],
        known: Mapping[TopicPartition, int],
    ) -> None:
        """Compare the reply of ``look`` with what this worker holds, while writes of its own may be under way.

        ``known``: positions that were written when ``look`` was sent. Raises: LeaseLost, StateRegressed.
        """
        for index, tp in enumerate(partitions):
            self._compare(tp, values[index], int(values[len(partitions) + index] or 0), known[tp])

    def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """How far each partition's state is written, as far as this worker knows; 0 for those of another."""
        return {tp: self._positions.get(tp, 0) for tp in partitions}

    def write(
        self,
        partitions: Sequence[TopicPartition],
        starts: Mapping[TopicPartition, int],
        writes: Sequence[Command],
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """``guard``, ``check`` and ``commit`` of a chunk. Raises: what they raise."""
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
        """Compare the replies of ``guard`` with what this worker holds.

        ``starts``: where the fetch stood before each partition's first record. Offsets may have gaps, so a first record's
        offset says nothing; where the fetch stood must be the leased position.

        Raises:
            LeaseLost: the epoch moved on, or another worker's position is stored. StateRegressed: the position is behind.
            ChunkOutOfOrder: ``starts`` does not go on from the leased position.
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
        """Look, between chunks, whether the store still holds what this worker wrote: in quiet times no chunk would ask.

        A partition that another worker has taken is no loss, and a store that does not answer is asked again.

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
        """MULTI: ``writes`` and the new positions, all or nothing. After a broken connection, or while the store takes no writes: again, by value.

        Raises:
            LeaseLost: another worker took a partition meanwhile. StateRegressed: the store lost writes.
            StoreUnavailable: Redis did not come back in time.
        """
        block: list[Command] = [
            ("MULTI",), *writes, *(("SET", self._position_key(tp), position) for tp, position in positions.items()), ("EXEC",),
        ]  # fmt: skip
        try:
            result = self._client.call(block)[-1]
        except StoreUnavailable:
            result = self._again(partitions, block, positions)
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
    ) -> Any:
        """The connection broke, or nothing can be written now: EXEC may have happened. The values are absolute, so
        writing them again is safe, as often as it takes.
        """

        def attempt() -> list[Any]:
            replies = self._client.call(self.guard(partitions))
            values = replies[1][len(partitions) :]
            # where no position is written nothing tells
            if positions and all(
                int(value or 0) >= positions[tp] for tp, value in zip(partitions, values, strict=True)
            ):
                return [[]]
            self.check(partitions, replies)
            return self._client.call(block)

        return patiently(attempt)[-1]

    def _epoch_key(self, tp: TopicPartition) -> str:
        return epoch_key(*tp, self._group)

    def _position_key(self, tp: TopicPartition) -> str:
        return position_key(*tp, self._group)
