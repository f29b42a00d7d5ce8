"""Profiles as the store's replies hold them, in Feast's values: into an arena in a compiled loop each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from features.codec import Stored, joined, unpack_profiles, unpack_since, words_of
from features.online.layout import View


class Read(NamedTuple):
    """What was read: which profiles are there in parts, as how many words, (n,), 0 where one is not; and the bytes of each."""

    in_parts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def stored_in(values: Sequence[bytes | None]) -> Stored:
    """The ``bytes_val`` of stored protobuf Values; where there is none, nothing is stored.

    Raises:
        ValueError: a value is of another type, or ends too early.
    """
    # Feast stores what is null as no bytes at all
    sizes = np.array([len(value) if value else -1 for value in values], dtype=np.int64)
    text = joined([value for value in values if value])
    starts = np.empty(len(values), dtype=np.int64)
    bad = _unwrap(text, starts, sizes)
    if bad >= 0:
        raise ValueError(f"a stored profile is not bytes (protobuf {(values[bad] or b'')[:4].hex()})")
    return Stored(text, starts, sizes)


def read_profiles(
    arena: npt.NDArray[np.void],
    slots: npt.NDArray[np.int64],
    values: Sequence[bytes | None],
    since: Sequence[bytes | None] | None,
    bases: npt.NDArray[np.void] | None = None,
) -> Read:
    """Put stored profiles, and what came ``since`` where a view has that, into slots of an arena; a slot of which nothing is stored
    keeps its empty profile.

    Args:
        values: (n,). since: (n,) or None. bases: (n,); gets each profile as it was last written whole.

    Raises:
        ValueError: a value is not bytes. ProfileError: bytes that are no profile that this code reads.
    """
    profiles = stored_in(values)
    in_parts = unpack_profiles(arena, slots, profiles)
    if bases is not None:
        # as words: NumPy copies records field by field
        words_of(bases)[:] = words_of(arena)[slots]
    if since is not None:
        unpack_since(arena, slots, in_parts, stored_in(since))
    return Read(in_parts, profiles.sizes)


def columns_in(replies: Sequence[Any], views: Sequence[View]) -> list[tuple[list[Any], list[Any] | None]]:
    """For each of ``views`` the replies' profiles, and what came since: the replies are of HMGETs of ``layout.read_fields``."""
    out: list[tuple[list[Any], list[Any] | None]] = []
    at = 0
    for view in views:
        since = [reply[at + 1] for reply in replies] if view.in_parts else None
        out.append(([reply[at] for reply in replies], since))
        at += 2 if view.in_parts else 1
    return out


@njit(cache=True, nogil=True)
def _unwrap(text: Any, starts: Any, sizes: Any) -> int:
    """Where the bytes of each value begin and how many they are, in place of the value's; index of the first that has none, or -1."""
    start = 0
    for i in range(sizes.shape[0]):
        end = start + max(sizes[i], 0)
        starts[i] = start
        if sizes[i] < 0:
            continue
        if text[start] != 0x0A:
            return i
        size, shift, at = np.int64(0), 0, start + 1
        while True:
            if at >= end or shift > 28:
                return i
            size |= (np.int64(text[at]) & 0x7F) << shift
            shift += 7
            at += 1
            if text[at - 1] < 0x80:
                break
        if at + size > end:
            return i
        starts[i], sizes[i] = at, size
        start = end
    return -1
