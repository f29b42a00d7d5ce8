"""Packs a batch's reads and writes of profiles for Redis: one MGET or MSET per view, built by one compiled loop.

One string per entity costs Redis half of what a hash of a few fields costs; one MSET costs less than many SETs (decision 18).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from features.profile.codec import KINDS, max_bytes, put_profile, words_of
from features.store.keys import key_start
from features.store.partitions import Bytes, Names, Partitions, entity_partitions, key_partitions, names_of
from features.store.redis_client import Packed
from features.store.views import TRANSACTIONS, View

#: bytes around an argument: its length before it, and two line ends
_AROUND = 16


def view_partitions(view: View, names: Names, partitions: int) -> Partitions:
    """The partition of the view's topic on which each entity is kept, (n,)."""
    if view.topic == TRANSACTIONS:
        return key_partitions(names, partitions)
    return entity_partitions(view.entity, names, partitions)


def pack_mget(view: View, ids: Sequence[str], partitions: int) -> Packed:
    """The MGET that reads a view of these entities; its reply holds a profile or None for each. No ids: no command."""
    n = len(ids)
    if not n:
        return Packed(b"", 0)
    names, starts = names_of(ids), _key_starts(view, partitions)
    head = b"*%d\r\n$4\r\nMGET\r\n" % (n + 1)
    out = _room(head, names, n * (starts.longest + _AROUND))
    where = view_partitions(view, names, partitions)
    end = _put_keys(names.text, names.ends, starts.text, starts.ends, where, out, len(head))
    return Packed(out[:end].tobytes(), 1)


def pack_mset(
    view: View,
    ids: Sequence[str],
    arena: npt.NDArray[np.void],
    slots: npt.NDArray[np.int64],
    partitions: int,
    day: int,
) -> Packed:
    """The MSET that writes whole profiles of a view. No ids: no command.

    Args:
        slots: indices in ``arena``, (n,), in the order of ``ids``.
        day: day of writing, days since 1970.
    """
    n = len(ids)
    if not n:
        return Packed(b"", 0)
    names, starts, words = names_of(ids), _key_starts(view, partitions), words_of(arena)
    head = b"*%d\r\n$4\r\nMSET\r\n" % (2 * n + 1)
    out = _room(head, names, n * (starts.longest + 2 * _AROUND + max_bytes(words.shape[1])))
    where = view_partitions(view, names, partitions)
    slots = np.ascontiguousarray(slots, dtype=np.int64)
    end = _put_pairs(
        names.text, names.ends, starts.text, starts.ends, where, words, slots, KINDS[arena.dtype], day, out, len(head)
    )  # fmt: skip
    return Packed(out[:end].tobytes(), 1)


class _Starts(Names):
    """Prefixes of keys, by partition."""

    @property
    def longest(self) -> int:
        return int(np.diff(self.ends).max())


@lru_cache(maxsize=64)
def _key_starts(view: View, partitions: int) -> _Starts:
    return _Starts(*names_of([key_start(view, partition).decode() for partition in range(partitions)]))


def _room(head: bytes, names: Names, more: int) -> Bytes:
    out = np.empty(len(head) + int(names.ends[-1]) + more, dtype=np.uint8)
    out[: len(head)] = np.frombuffer(head, dtype=np.uint8)
    return out


@njit(cache=True, nogil=True)
def _put_keys(text: Any, ends: Any, starts: Any, start_ends: Any, where: Any, out: Any, at: int) -> int:
    for i in range(where.shape[0]):
        at = _put_key(text, ends[i], ends[i + 1], starts, start_ends, where[i], out, at)
    return at


@njit(cache=True, nogil=True)
def _put_pairs(
    text: Any, ends: Any, starts: Any, start_ends: Any, where: Any, words: Any, slots: Any, kind: int, day: int, out: Any,
    at: int,
) -> int:  # fmt: skip
    profile = np.empty(max_bytes(words.shape[1]), dtype=np.uint8)
    for i in range(where.shape[0]):
        at = _put_key(text, ends[i], ends[i + 1], starts, start_ends, where[i], out, at)
        size = put_profile(words, slots[i], kind, day, profile, 0)
        at = _put_length(size, out, at)
        at = _end_line(_put(profile, 0, size, out, at), out)
    return at


@njit(cache=True, nogil=True)
def _put_key(
    text: Any, start: int, stop: int, starts: Any, start_ends: Any, partition: int, out: Any, at: int
) -> Any:
    """An entity's key as one argument."""
    begin, end = start_ends[partition], start_ends[partition + 1]
    at = _put_length(end - begin + stop - start, out, at)
    at = _put(starts, begin, end, out, at)
    return _end_line(_put(text, start, stop, out, at), out)


@njit(cache=True, nogil=True)
def _put(source: Any, start: int, stop: int, out: Any, at: int) -> int:
    # unsigned: for an index that may be negative, Numba adds a check to every access
    begin, end = np.uint64(start), np.uint64(at)
    for j in range(stop - start):
        out[end + np.uint64(j)] = source[begin + np.uint64(j)]
    return at + stop - start


@njit(cache=True, nogil=True)
def _end_line(at: int, out: Any) -> int:
    out[at] = 13
    out[at + 1] = 10
    return at + 2


@njit(cache=True, nogil=True)
def _put_length(size: int, out: Any, at: int) -> Any:
    """Write ``$size`` and the line end; returns the position behind them."""
    out[at] = 36
    digits = 1
    power = 10
    while size >= power:
        digits += 1
        power *= 10
    for j in range(digits, 0, -1):
        out[at + j] = 48 + size % 10
        size //= 10
    return _end_line(at + 1 + digits, out)
