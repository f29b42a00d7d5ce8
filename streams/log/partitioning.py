"""The partition of a key: murmur2 as in Java's producers, for a whole chunk at once.

Source: Apache Kafka ``org.apache.kafka.common.utils.Utils.murmur2`` and ``toPositive(hash) % partitions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(cache=True, nogil=True)
def _murmur2(data: npt.NDArray[np.uint8], start: int, end: int) -> np.uint32:
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


@njit(cache=True, nogil=True)
def _place(
    data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], partitions: int, out: npt.NDArray[np.int64]
) -> None:
    start = 0
    for i in range(ends.shape[0]):
        out[i] = (np.int64(_murmur2(data, start, ends[i])) & 0x7FFFFFFF) % partitions
        start = ends[i]


def partitions_of(keys: Sequence[str], partitions: int) -> npt.NDArray[np.int64]:
    """The partition of each key, as Java's producers compute it; shape (n,)."""
    encoded = [key.encode() for key in keys]
    out = np.empty(len(keys), dtype=np.int64)
    ends = np.cumsum(np.array([len(key) for key in encoded], dtype=np.int64))
    _place(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends, partitions, out)
    return out


def entity_partition(entity: str, entity_id: str, partitions: int) -> int:
    """The partition of `entities` that holds one merchant, device, ip or customer, or a card's fraud history."""
    return crc32(f"{entity}:{entity_id}".encode()) % partitions
