"""The identities of accepted transactions in Redis, written with the state and read again when a worker gets a partition.

An array by offset, cut into blocks of 65,536: 12 bytes a transaction, one SETRANGE a chunk and partition, which may be repeated.
The newest blocks of a partition are kept. Of those dropped their greatest event time is kept by the day of their first record:
what is older than that is looked up in the decision index, which forgets after 60 days.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from features.store.keys import slot_tag
from features.store.redis_client import Command, RespClient
from streams.log.decision_index import DAY_S, KEEP_S
from streams.log.topics import TRANSACTIONS
from streams.processor.identities.table import (
    NEVER_MS,
    SLOTS,
    Contents,
    Hashes,
    IdentityTable,
    Places,
    place_of,
)

#: offsets of a block
BLOCK = 1 << 16
#: identities kept of all partitions together: what a table surely holds
KEPT = SLOTS // 2
#: key of the hash's secret, so that nobody can choose ids that collide
SECRET_KEY = "tollgate:identities:secret"
_ROW = np.dtype([("name", "<u8"), ("content", "<u4")])
_DAY_MS = DAY_S * 1000
_KEEP_DAYS = KEEP_S // DAY_S


class Block(msgspec.Struct, array_like=True):
    """A block that is kept: its greatest event time, ms, and the day of its first record, in days since 1970."""

    newest_ms: int
    day: int


class _Memory(msgspec.Struct, array_like=True):
    """What is known of a partition: its blocks, and of the dropped ones the greatest event time, ms, by day."""

    blocks: dict[int, Block]
    dropped: dict[int, int]


class Rows(NamedTuple):
    """First transactions of one partition, in offset order."""

    offsets: npt.NDArray[np.int64]
    names: Hashes
    contents: Contents
    event_ms: npt.NDArray[np.int64]


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Memory).decode


def memory_key(partition: int) -> str:
    """Key of what is known of a partition's blocks."""
    return f"{slot_tag(TRANSACTIONS.name, partition)}identities"


def block_key(partition: int, block: int) -> str:
    """Key of one block."""
    return f"{slot_tag(TRANSACTIONS.name, partition)}identities:{block}"


def secret(client: RespClient) -> tuple[int, int]:
    """The key of the identities' hash, of this store; made by the first who asks."""
    client.with_retry([("SET", SECRET_KEY, secrets.token_bytes(16), "NX")])
    (raw,) = client.with_retry([("GET", SECRET_KEY)])
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


class IdentityBlocks:
    """What is kept of the partitions of one worker."""

    def __init__(self, partitions: int, kept: int = KEPT, block: int = BLOCK) -> None:
        """``partitions``: of `transactions`; ``kept``: identities of all of them; ``block``: offsets of a block."""
        self._block = block
        self._kept_blocks = max(2, kept // partitions // block)
        self._memories: dict[int, _Memory] = {}

    def load(self, client: RespClient, positions: dict[int, int], table: IdentityTable, now_ms: int) -> None:
        """Read what is kept of partitions into an empty table. ``positions``: by partition, the next offset to apply.

        A partition that has a position and nothing kept was written by code that kept nothing: all up to now may be known to the
        decision index only.
        """
        self._memories = {}
        wanted = sorted(positions)
        if not wanted:
            return
        raw = client.with_retry([("GET", memory_key(partition)) for partition in wanted])
        self._memories = {
            partition: _unpack(found) if found else _Memory({}, {})
            for partition, found in zip(wanted, raw, strict=True)
        }
        for partition, memory in self._memories.items():
            if raw[wanted.index(partition)] is None:
                if positions[partition]:
                    memory.dropped[now_ms // _DAY_MS] = now_ms
                client.with_retry([("SET", memory_key(partition), _pack(memory))])
            table.forget_before(max(memory.dropped.values(), default=NEVER_MS))
            for block in sorted(memory.blocks):
                (stored,) = client.with_retry([("GET", block_key(partition, block))])
                self._fill(table, partition, block, stored or b"", memory.blocks[block].newest_ms)

    def _fill(self, table: IdentityTable, partition: int, block: int, stored: bytes, newest_ms: int) -> None:
        rows = np.frombuffer(stored[: len(stored) // _ROW.itemsize * _ROW.itemsize], dtype=_ROW)
        used = np.flatnonzero(rows["name"])
        places: Places = used + place_of(partition, block * self._block)
        names, contents = (
            np.ascontiguousarray(rows["name"][used]),
            np.ascontiguousarray(rows["content"][used]),
        )
        # a generation holds whole parts of a block
        for start in range(0, len(used), 4096):
            part = slice(start, start + 4096)
            n = len(used[part])
            table.make_room(n)
            table.meet(
                names[part],
                contents[part],
                places[part],
                np.zeros(n, np.uint8),
                np.full(n, newest_ms, np.int64),
            )

    def writes(self, partition: int, rows: Rows, now_ms: int) -> list[Command]:
        """Commands that keep first transactions of one partition; they may be repeated."""
        memory = self._memories.setdefault(partition, _Memory({}, {}))
        out: list[Command] = []
        for block, part in self._by_block(rows):
            out.append(self._write(partition, block, part))
            newest_ms = int(part.event_ms.max())
            held = memory.blocks.get(block)
            if held is None:
                held = memory.blocks[block] = Block(newest_ms, now_ms // _DAY_MS)
            held.newest_ms = max(held.newest_ms, newest_ms)
        while len(memory.blocks) > self._kept_blocks:
            out.append(self._drop(partition, min(memory.blocks), now_ms))
        out.append(("SET", memory_key(partition), _pack(memory)))
        return out

    def _by_block(self, rows: Rows) -> list[tuple[int, Rows]]:
        first, last = int(rows.offsets[0]) // self._block, int(rows.offsets[-1]) // self._block
        if first == last:
            # as nearly always
            return [(first, rows)]
        blocks = rows.offsets // self._block
        return [
            (block, Rows(*(column[blocks == block] for column in rows)))
            for block in np.unique(blocks).tolist()
        ]

    def _write(self, partition: int, block: int, rows: Rows) -> Command:
        within = rows.offsets - block * self._block
        first = int(within[0])
        packed = np.zeros(int(within[-1]) - first + 1, dtype=_ROW)
        packed["name"][within - first], packed["content"][within - first] = rows.names, rows.contents
        return ("SETRANGE", block_key(partition, block), first * _ROW.itemsize, packed.tobytes())

    def _drop(self, partition: int, block: int, now_ms: int) -> Command:
        memory = self._memories[partition]
        gone = memory.blocks.pop(block)
        memory.dropped[gone.day] = max(memory.dropped.get(gone.day, NEVER_MS), gone.newest_ms)
        # days that the index has forgotten need no day of their own
        over = [day for day in memory.dropped if day <= now_ms // _DAY_MS - _KEEP_DAYS]
        if len(over) > 1:
            memory.dropped[min(over)] = max(memory.dropped.pop(day) for day in over)
        return ("DEL", block_key(partition, block))

    def begin_unknown(self, partition: int, now_ms: int) -> None:
        """The log of a partition is built from its middle: what came before is known to the decision index only."""
        self._memories.setdefault(partition, _Memory({}, {})).dropped[now_ms // _DAY_MS] = now_ms

    def log_lost(self, partition: int, now_ms: int) -> list[Command]:
        """Commands for a partition whose offsets begin again: what is kept by offset is dropped, and known to the index only."""
        memory = self._memories.setdefault(partition, _Memory({}, {}))
        out = [self._drop(partition, block, now_ms) for block in sorted(memory.blocks)]
        return [*out, ("SET", memory_key(partition), _pack(memory))]

    def unknowable_ms(self, now_ms: int) -> int:
        """Up to this event time a transaction may have been decided and forgotten by the index too; NEVER_MS if nothing was."""
        over = now_ms // _DAY_MS - _KEEP_DAYS
        return max(
            (ms for memory in self._memories.values() for day, ms in memory.dropped.items() if day <= over),
            default=NEVER_MS,
        )


def forget_blocks(client: RespClient, partition: int) -> list[Command]:
    """Commands that delete what is kept of a partition, before it is built anew."""
    (raw,) = client.with_retry([("GET", memory_key(partition))])
    blocks = _unpack(raw).blocks if raw else {}
    return [("DEL", memory_key(partition), *(block_key(partition, block) for block in blocks))]


def by_partition(
    partitions: Sequence[int], chosen: npt.NDArray[np.bool_]
) -> dict[int, npt.NDArray[np.int64]]:
    """The indices of the ``chosen`` (n,) rows of each partition."""
    where, rows = np.array(partitions, dtype=np.int64), np.flatnonzero(chosen)
    if not len(rows):
        return {}
    of = where[rows]
    return {partition: rows[of == partition] for partition in set(of.tolist())}
