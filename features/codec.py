"""A profile as stored: kind, layout, length, a mask of which of its words of 8 bytes are not zero, and those words: of each
a mask of which of its bytes are not zero, and those bytes.

A young profile is mostly zeros, and most of its numbers are small: a card with ten payments takes about 300 of 2,000
bytes, a device 100. Words as they are (layout 2, all that older code writes) are read too, and written where that is
shorter, which bounds the size.

Forward and backward: the length says how many words the writer knew. A reader with more takes the rest as zero, a reader
with fewer leaves the rest out (a profile that it writes then lacks them until the newer code writes it again); so fields
are only ever appended. A change that this does not cover raises the layout's number, and old layouts are either converted
here or refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from features.profiles import FRAUDS, HOLDER, MEETING

HEADER = 4
#: what this code writes; 1 was the fixed records before the first release
LAYOUT = 3
#: the layout before, which is written where it is shorter
WHOLE_WORDS = 2
KINDS = {HOLDER: 1, MEETING: 2, FRAUDS: 3}
_NAMES = {1: "holder", 2: "meeting place", 3: "frauds"}


class ProfileError(Exception):
    """Stored bytes are not a profile of a kind and layout that this code reads."""


def encode_profiles(
    arena: npt.NDArray[np.void], slots: npt.NDArray[np.int64], layout: int = LAYOUT
) -> list[bytes]:
    """The stored form of some profiles of an arena, at most ``itemsize * 65 / 64 + 5`` bytes each."""
    words = words_of(arena)
    out = np.empty(len(slots) * most_bytes(words.shape[1]) + 8, dtype=np.uint8)
    ends = np.empty(len(slots) + 1, dtype=np.int64)
    _pack(words, np.ascontiguousarray(slots, dtype=np.int64), KINDS[arena.dtype], layout, out, ends)
    whole = out[: ends[-1]].tobytes()
    bounds = ends.tolist()
    return [whole[start:end] for start, end in pairwise(bounds)]


def decode_profiles(
    arena: npt.NDArray[np.void], slots: Sequence[int], stored: Sequence[bytes | None]
) -> None:
    """Put stored profiles into slots of an arena; where there is none, the slot keeps its empty profile.

    Raises:
        ProfileError: another kind or layout, or bytes that end too early.
    """
    some = [(slot, raw) for slot, raw in zip(slots, stored, strict=True) if raw]
    if not some:
        return
    sizes = np.array([len(raw) for _, raw in some], dtype=np.int64)
    joined = np.frombuffer(b"".join([raw for _, raw in some]), dtype=np.uint8)
    where = np.array([slot for slot, _ in some], dtype=np.int64)
    bad = _unpack(joined, sizes, where, KINDS[arena.dtype], words_of(arena))
    if bad >= 0:
        raise ProfileError(_complaint(some[bad][1], KINDS[arena.dtype]))


def load_into(arena: npt.NDArray[np.void], slot: int, stored: bytes | None) -> bool:
    """Put one stored profile into a slot; False when there is none.

    Raises:
        ProfileError: as ``decode_profiles``.
    """
    decode_profiles(arena, [slot], [stored])
    return bool(stored)


def words_of(arena: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """An arena's records as words, uint64 (n, itemsize / 8); a view."""
    words: npt.NDArray[np.uint64] = arena.view(np.uint64).reshape(len(arena), arena.dtype.itemsize // 8)
    return words


@njit(cache=True, nogil=True)
def most_bytes(words: int) -> int:
    """What ``put_profile`` may need to try what is shorter, for a profile of so many words."""
    return HEADER + (words + 7) // 8 + 9 * words + 8


def _complaint(stored: bytes, kind: int) -> str:
    if len(stored) < HEADER:
        return f"a stored profile has {len(stored)} bytes: too few"
    found, layout = stored[0], stored[1]
    if found == kind and layout in (LAYOUT, WHOLE_WORDS):
        return f"a stored profile ({_NAMES[kind]}) of {len(stored)} bytes has not the length that it says"
    return (
        f"a stored profile is of kind {found}, layout {layout}; this code reads kind {kind} ({_NAMES[kind]}), layouts {WHOLE_WORDS} and {LAYOUT}."
        " `tollgate features rebuild --clear` makes it again from the log"
    )


@njit(cache=True, nogil=True)
def _pack(words: Any, slots: Any, kind: int, layout: int, out: Any, ends: Any) -> None:
    ends[0] = 0
    for i in range(slots.shape[0]):
        ends[i + 1] = put_profile(words, slots[i], kind, layout, out, ends[i])


@njit(cache=True, nogil=True)
def put_profile(words: Any, slot: int, kind: int, layout: int, out: Any, start: int) -> Any:
    """Write a profile's stored form into ``out`` (``most_bytes``) from ``start`` on; returns where it ends.

    ``layout``: LAYOUT, or WHOLE_WORDS for those who read no other.
    """
    width = words.shape[1]
    out[start] = kind
    out[start + 2] = width & 0xFF
    out[start + 3] = width >> 8
    mask = start + HEADER
    first = mask + (width + 7) // 8
    for m in range(mask, first):
        out[m] = 0
    used = 0
    for w in range(width):
        if words[slot, w] != 0:
            out[mask + (w >> 3)] |= np.uint8(1 << (w & 7))
            used += 1
    if layout == LAYOUT:
        end = _put_bytes(words, slot, out, first)
        if end - first <= 8 * used:
            out[start + 1] = LAYOUT
            return end
    out[start + 1] = WHOLE_WORDS
    return _put_words(words, slot, out, first)


@njit(cache=True, nogil=True)
def _put_bytes(words: Any, slot: int, out: Any, start: int) -> Any:
    """Of each word that is not zero: which of its bytes are not, and those; returns where they end."""
    end: Any = start
    for w in range(words.shape[1]):
        word = words[slot, w]
        if word == 0:
            continue
        there = end
        end += 1
        held: Any = 0
        for b in range(8):
            # no branch: a byte that is zero is written over by the next
            byte = (word >> np.uint64(8 * b)) & np.uint64(0xFF)
            out[end] = byte
            some = np.int64(byte != 0)
            end += some
            held |= some << b
        out[there] = held
    return end


@njit(cache=True, nogil=True)
def _put_words(words: Any, slot: int, out: Any, start: int) -> Any:
    """The words that are not zero; returns where they end."""
    end: Any = start
    for w in range(words.shape[1]):
        word = words[slot, w]
        if word != 0:
            for b in range(8):
                out[end + b] = (word >> np.uint64(8 * b)) & np.uint64(0xFF)
            end += 8
    return end


@njit(cache=True, nogil=True)
def _unpack(stored: Any, sizes: Any, slots: Any, kind: int, words: Any) -> int:
    """Index of the first profile that cannot be read, or -1."""
    start = 0
    for i in range(sizes.shape[0]):
        stop = start + sizes[i]
        if sizes[i] < HEADER or stored[start] != kind:
            return i
        layout = stored[start + 1]
        if layout != LAYOUT and layout != WHOLE_WORDS:
            return i
        written = np.int64(stored[start + 2]) + (np.int64(stored[start + 3]) << 8)
        mask = start + HEADER
        at = mask + (written + 7) // 8
        if at > stop:
            return i
        for w in range(written):
            word = np.uint64(0)
            if stored[mask + (w >> 3)] >> (w & 7) & 1:
                held = np.int64(0xFF)
                if layout == LAYOUT:
                    if at >= stop:
                        return i
                    held = np.int64(stored[at])
                    at += 1
                for b in range(8):
                    if (held >> b) & 1:
                        if at >= stop:
                            return i
                        word |= np.uint64(stored[at]) << np.uint64(8 * b)
                        at += 1
            if w < words.shape[1]:
                words[slots[i], w] = word
        if at != stop:
            return i
        start = stop
    return -1
