"""Computes partitions: a card's partition of `transactions`, any other entity's partition of `entities`.

Both are computed for a whole batch at once, from the ids as one UTF-8 buffer.

Source: Apache Kafka ``org.apache.kafka.common.utils.Utils.murmur2`` and ``toPositive(hash) % partitions``; CRC-32 as in
ISO 3309 (the polynomial of zlib).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
from numba import njit

_LINE = 10
Bytes = npt.NDArray[np.uint8]
Partitions = npt.NDArray[np.int64]


class Names(NamedTuple):
    """n ids in one UTF-8 buffer; id k is ``text[ends[k]:ends[k + 1]]``, ``ends`` has n + 1 entries."""

    text: Bytes
    ends: npt.NDArray[np.int64]


class Ids(NamedTuple):
    """n ids of one kind, None where there is none, and the same as bytes."""

    ids: Sequence[str | None]
    names: Names


def ids_together(*columns: Sequence[str | None]) -> list[Ids]:
    """Columns of n ids each, for the cost of one ``names_of``."""
    text, ends = names_of([name or "" for column in columns for name in column])
    n = len(columns[0])
    return [Ids(column, Names(text, ends[k * n : (k + 1) * n + 1])) for k, column in enumerate(columns)]


def names_of(ids: Sequence[str]) -> Names:
    """The ids in one buffer, in their order."""
    # joined by line ends and encoded at once, at half the cost; an id that contains a line end changes the count
    lines = np.frombuffer(bytearray("\n".join(ids).encode()), dtype=np.uint8)
    breaks = np.flatnonzero(lines == _LINE)
    if len(breaks) != len(ids) - 1:
        return _names_one_by_one(ids)
    ends = np.zeros(len(ids) + 1, dtype=np.int64)
    ends[1:-1] = breaks - np.arange(len(breaks))
    ends[-1] = len(lines) - len(breaks)
    return Names(lines[lines != _LINE], ends)


def _names_one_by_one(ids: Sequence[str]) -> Names:
    encoded = [name.encode() for name in ids]
    ends = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(name) for name in encoded], out=ends[1:])
    # writable, as above: Numba would compile again for read-only arrays
    return Names(np.frombuffer(bytearray(b"".join(encoded)), dtype=np.uint8), ends)


def partitions_of(keys: Sequence[str], partitions: int) -> Partitions:
    """The partition of each key by Kafka's default partitioner; (n,)."""
    return key_partitions(names_of(keys), partitions)


def key_partitions(names: Names, partitions: int) -> Partitions:
    """As ``partitions_of``."""
    out = np.empty(len(names.ends) - 1, dtype=np.int64)
    _place_keys(names.text, names.ends, partitions, out)
    return out


def entity_partitions(entity: str, names: Names, partitions: int) -> Partitions:
    """``entity_partition`` of n ids of one kind of entity; (n,)."""
    out = np.empty(len(names.ends) - 1, dtype=np.int64)
    _place_entities(names.text, names.ends, np.uint32(crc32(f"{entity}:".encode())), _CRC, partitions, out)
    return out


def text_hashes(names: Names) -> npt.NDArray[np.uint32]:
    """``features.kernels.columns.text_hash`` of each id, uint32 (n,); 0 where it is empty."""
    out = np.empty(len(names.ends) - 1, dtype=np.uint32)
    _hash(names.text, names.ends, _CRC, out)
    return out


def entity_partition(entity: str, entity_id: str, partitions: int) -> int:
    """The partition of `entities` of a merchant, device, ip, customer, or a card's fraud history."""
    return crc32(f"{entity}:{entity_id}".encode()) % partitions


def _crc_table() -> npt.NDArray[np.uint32]:
    """CRC-32 table, uint32 (256,)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1)
    return table.astype(np.uint32)


_CRC = _crc_table()


@njit(cache=True, nogil=True)
def _place_keys(text: Any, ends: Any, partitions: int, out: Any) -> None:
    for i in range(out.shape[0]):
        out[i] = (np.int64(_murmur2(text, ends[i], ends[i + 1])) & 0x7FFFFFFF) % partitions


@njit(cache=True, nogil=True)
def _place_entities(text: Any, ends: Any, begun: int, table: Any, partitions: int, out: Any) -> None:
    """``begun``: checksum of the prefix of every id."""
    for i in range(out.shape[0]):
        out[i] = np.int64(_crc32(text, ends[i], ends[i + 1], begun, table)) % partitions


@njit(cache=True, nogil=True)
def _hash(text: Any, ends: Any, table: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        crc = _crc32(text, ends[i], ends[i + 1], np.uint32(0), table)
        out[i] = crc if crc or ends[i] == ends[i + 1] else np.uint32(1)


@njit(cache=True, nogil=True)
def _crc32(text: Any, start: int, end: int, begun: int, table: Any) -> Any:
    crc = ~np.uint32(begun)
    for j in range(start, end):
        crc = table[(crc ^ np.uint32(text[j])) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return np.uint32(~crc)


@njit(cache=True, nogil=True)
def _murmur2(data: Any, start: int, end: int) -> Any:
    m = np.uint32(0x5BD1E995)
    length = end - start
    h = np.uint32(0x9747B28C) ^ np.uint32(length)
    position = start
    while end - position >= 4:
        k = np.uint32(
            np.uint32(data[position])
            | np.uint32(data[position + 1]) << np.uint32(8)
            | np.uint32(data[position + 2]) << np.uint32(16)
            | np.uint32(data[position + 3]) << np.uint32(24)
        )
        k = np.uint32(k * m)
        k ^= k >> np.uint32(24)
        k = np.uint32(k * m)
        h = np.uint32(h * m)
        h ^= k
        position += 4
    left = end - position
    if left == 3:
        h ^= np.uint32(data[position + 2]) << np.uint32(16)
    if left >= 2:
        h ^= np.uint32(data[position + 1]) << np.uint32(8)
    if left >= 1:
        h ^= np.uint32(data[position])
        h = np.uint32(h * m)
    h ^= h >> np.uint32(13)
    h = np.uint32(h * m)
    h ^= h >> np.uint32(15)
    return np.uint32(h)
