"""Profiles as the store's replies hold them, in Feast's values: into an arena, in one compiled loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from features.profile.codec import (
    KINDS,
    NOTHING,
    UNREADABLE,
    apart,
    take_profile,
    take_since,
    unread,
    words_of,
)
from features.store.keys import View, unpack_bytes

#: what is wrong with the first value that cannot be read
_NO_BYTES, _NO_PROFILE, _APART = 0, 1, 2
_NONE = np.zeros((0, 0), dtype=np.uint64)
#: lies behind the last value, so that its last word can be read in one go, as every other
_BEHIND = bytes(8)


class Read(NamedTuple):
    """What was read: which profiles are there in parts, as how many words, (n,), 0 where one is whole, ``codec.NOTHING`` where there is
    none; and the bytes of each.
    """

    in_parts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def read_profiles(
    arena: npt.NDArray[np.void],
    slots: npt.NDArray[np.int64],
    values: Sequence[bytes | None],
    since: Sequence[bytes | None] = (),
    bases: npt.NDArray[np.void] | None = None,
) -> Read:
    """Put stored profiles, and what came ``since`` where a view has that, into slots of an arena; a slot of which nothing is stored
    keeps its empty profile.

    Args:
        values: (n,). since: (n,), or none of any. bases: (n,); gets each profile that is there as it was last written whole.

    Raises:
        ValueError: a value is not bytes. ProfileError: bytes that are no profile that this code reads.
    """
    n = len(values)
    every = [*values, *since] if since else values
    there = [value for value in every if value]
    if not there:
        return Read(np.full(n, NOTHING, dtype=np.int64), np.zeros(n, dtype=np.int64))
    # Feast stores what is null as no bytes at all
    lengths = np.array([len(value) if value else -1 for value in every], dtype=np.int64)
    read = Read(np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64))
    kind = KINDS[arena.dtype]
    whole = _NONE if bases is None else words_of(bases)
    text = np.frombuffer(b"".join([*there, _BEHIND]), dtype=np.uint8)
    bad = _read(text, lengths, slots, kind, words_of(arena), whole, read.in_parts, read.sizes)
    if bad >= 0:
        index, wrong = divmod(bad, 3)
        if wrong == _NO_BYTES:
            raise ValueError(f"a stored profile is not bytes (protobuf {(every[index] or b'')[:4].hex()})")
        raise apart(kind) if wrong == _APART else unread(unpack_bytes(every[index]) or b"", kind)
    return read


def columns_in(replies: Sequence[Any], views: Sequence[View]) -> list[tuple[list[Any], list[Any]]]:
    """For each of ``views`` the replies' profiles, and what came since, none where it has no such field: the replies are of HMGETs of
    ``layout.read_fields``.
    """
    out: list[tuple[list[Any], list[Any]]] = []
    at = 0
    for view in views:
        since = [reply[at + 1] for reply in replies] if view.in_parts else []
        out.append(([reply[at] for reply in replies], since))
        at += 2 if view.in_parts else 1
    return out


@njit(cache=True, nogil=True)
def _read(
    text: Any, lengths: Any, slots: Any, kind: int, words: Any, bases: Any, in_parts: Any, sizes: Any
) -> Any:
    """Of the first value that cannot be read its index and what is wrong with it, as one number; or -1.

    ``lengths``: of n values of profiles in ``text``, and then, where they were read, of n values of what came since.
    """
    n = slots.shape[0]
    start = 0
    for i in range(n):
        end = start + max(lengths[i], 0)
        at = _bytes_in(text, start, end)
        if at < 0:
            return 3 * i + _NO_BYTES
        found = take_profile(text, at, end - at, kind, words[slots[i]])
        if found == UNREADABLE:
            return 3 * i + _NO_PROFILE
        in_parts[i], sizes[i] = found, end - at
        if bases.shape[0] > 0 and found != NOTHING:
            bases[i] = words[slots[i]]
        start = end
    for i in range(lengths.shape[0] - n):
        end = start + max(lengths[n + i], 0)
        at = _bytes_in(text, start, end)
        if at < 0:
            return 3 * (n + i) + _NO_BYTES
        size = end - at if lengths[n + i] > 0 else -1
        if not take_since(text, at, size, kind, words[slots[i]], in_parts[i]):
            return 3 * (n + i) + _APART
        start = end
    return -1


@njit(cache=True, nogil=True)
def _bytes_in(text: Any, start: int, end: int) -> Any:
    """Where the bytes of a protobuf Value with ``bytes_val`` begin, which end where it ends; -1: it is none. An empty one has none."""
    if start == end:
        return np.int64(start)
    if text[start] != 0x0A:
        return np.int64(-1)
    size, shift, at = np.int64(0), 0, start + 1
    while True:
        if at >= end or shift > 28:
            return np.int64(-1)
        size |= (np.int64(text[at]) & 0x7F) << shift
        shift += 7
        at += 1
        if text[at - 1] < 0x80:
            break
    return np.int64(at) if at + size == end else np.int64(-1)
