"""Encodes a profile compactly: zero words and zero bytes are left out; bit masks say which ones are present.

A young profile is mostly zeros, and most of its numbers are small: a card with ten payments takes about 300 of 2,000
bytes, a device 100. Where uncompressed words are shorter, they are stored instead (``WHOLE_WORDS``), which bounds the size.

The header (``HEADER`` bytes, in every format): format, kind, number of words that the writer knew (2 bytes), day of writing (2
bytes, days since 1970 by the writer's clock). The sweep finds silent profiles by that day (``features.store.sweep``).

Forward and backward compatible: a reader that knows more words than the writer takes the rest as zero; a reader that knows fewer
ignores the rest, and a profile that it writes lacks them. So fields are only ever appended. Any other change raises FORMAT, and the
previous format is either converted here or refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY

#: the format that this code writes
FORMAT = 1
HEADER = 6
#: flag in the kind's byte: words are stored uncompressed
WHOLE_WORDS = 0x80
#: for a payer's two profiles together: payments, and frauds with declines
MAX_BYTES = 2048
MAX_BYTES_OF_A_PAYER = MAX_BYTES + 136
KINDS = {PAYER: 1, SHARED_ENTITY: 2, FRAUDS: 3}
_NAMES = {1: "payer", 2: "shared entity", 3: "frauds"}
#: padding behind the last value: a read of its last word takes 8 bytes, like every other
_BEHIND = bytes(8)
#: constants to test all eight bytes of a word at once: low seven bits of each byte, top bits, multiplier that packs the top bits
_SEVEN, _TOPS, _GATHER = (
    np.uint64(0x7F7F7F7F7F7F7F7F),
    np.uint64(0x8080808080808080),
    np.uint64(0x0102040810204080),
)


def _moves() -> npt.NDArray[np.uint64]:
    """Masks to compress a word to its non-zero bytes: for each of the 256 sets of non-zero bytes, the bytes that move by 1, by 2
    and by 4 places, uint64 (256, 3) (Warren, Hacker's Delight, 7-4).
    """
    masks = np.zeros((256, 3), dtype=np.uint64)
    for held in range(256):
        # (current position, distance to move) of each byte
        ways = [(b, b - (held & ((1 << b) - 1)).bit_count()) for b in range(8) if held >> b & 1]
        for step in range(3):
            masks[held, step] = sum(0xFF << 8 * at for at, far in ways if far >> step & 1)
            ways = [(at - (far & 1 << step), far) for at, far in ways]
    return masks


_MOVED = _moves()
_BITS = np.array([bits.bit_count() for bits in range(256)], dtype=np.uint8)
_LOWEST = np.array([0, *((bits & -bits).bit_length() - 1 for bits in range(1, 256))], dtype=np.uint8)
#: the lowest n bytes of a word
_LOW = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)


class ProfileError(Exception):
    """The stored bytes are not a profile of the expected kind and of a format that this code reads."""


def encode_profiles(arena: npt.NDArray[np.void], slots: npt.NDArray[np.int64], day: int) -> list[bytes]:
    """The stored form of the profiles in ``slots`` of an arena; ``day``: day of writing, days since 1970."""
    words = words_of(arena)
    out = np.empty(len(slots) * max_bytes(words.shape[1]) + 8, dtype=np.uint8)
    ends = np.empty(len(slots) + 1, dtype=np.int64)
    _pack(words, np.ascontiguousarray(slots, dtype=np.int64), KINDS[arena.dtype], day, out, ends)
    whole = out[: ends[-1]].tobytes()
    bounds = ends.tolist()
    return [whole[start:end] for start, end in pairwise(bounds)]


def read_profiles(
    arena: npt.NDArray[np.void], slots: npt.NDArray[np.int64], stored: Sequence[bytes | None]
) -> None:
    """Decode stored profiles into slots of an arena, (n,). Where nothing is stored (None), the slot keeps its empty profile.

    Raises:
        ProfileError: a value is not a profile that this code reads.
    """
    there = [value for value in stored if value is not None]
    if not there:
        return
    lengths = np.array([-1 if value is None else len(value) for value in stored], dtype=np.int64)
    text = np.frombuffer(b"".join([*there, _BEHIND]), dtype=np.uint8)
    kind = KINDS[arena.dtype]
    bad = _read(text, lengths, np.ascontiguousarray(slots, dtype=np.int64), kind, words_of(arena))
    if bad >= 0:
        raise _unread(stored[bad] or b"", kind)


def written_day(header: bytes) -> int | None:
    """The day on which a profile was written, days since 1970, from its first HEADER bytes; None if they are not a header."""
    if len(header) < HEADER or not 1 <= header[0] <= FORMAT:
        return None
    return int.from_bytes(header[4:HEADER], "little")


def words_of(arena: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """An arena's records as words, uint64 (n, itemsize / 8); a view."""
    words: npt.NDArray[np.uint64] = arena.view(np.uint64).reshape(len(arena), arena.dtype.itemsize // 8)
    return words


@njit(cache=True, nogil=True)
def max_bytes(words: int) -> int:
    """Bytes that ``put_profile`` may use while it encodes a profile of ``words`` words."""
    return HEADER + (words + 7) // 8 + 9 * words + 8


def _unread(stored: bytes, kind: int) -> ProfileError:
    """The error for bytes that are not a profile of this kind."""
    if len(stored) < HEADER:
        return ProfileError(f"a stored profile has {len(stored)} bytes: too few")
    if (stored[0], stored[1] & ~WHOLE_WORDS) == (FORMAT, kind):
        return ProfileError(
            f"a stored profile ({_NAMES[kind]}) of {len(stored)} bytes does not have the length that its header says"
        )
    return ProfileError(
        f"a stored profile is of format {stored[0]}, kind {stored[1] & ~WHOLE_WORDS}; this code reads format {FORMAT}, here kind {kind}"
        f" ({_NAMES[kind]}). `tollgate features rebuild --clear` rebuilds it from the log"
    )


@njit(cache=True, nogil=True)
def _pack(words: Any, slots: Any, kind: int, day: int, out: Any, ends: Any) -> None:
    ends[0] = 0
    for i in range(slots.shape[0]):
        ends[i + 1] = put_profile(words, slots[i], kind, day, out, ends[i])


@njit(cache=True, nogil=True)
def put_profile(words: Any, slot: int, kind: int, day: int, out: Any, start: int) -> Any:
    """Write a profile's stored form into ``out`` (``max_bytes`` long) at ``start``; returns its end."""
    width = words.shape[1]
    out[start], out[start + 1] = FORMAT, kind
    out[start + 2], out[start + 3] = width & 0xFF, width >> 8
    out[start + 4], out[start + 5] = day & 0xFF, day >> 8
    mask = start + HEADER
    first = mask + (width + 7) // 8
    used = _put_mask(words[slot], out, mask)
    end = _put_bytes(words[slot], out, mask, first)
    if end - first <= 8 * used:
        return end
    out[start + 1] = kind | WHOLE_WORDS
    return _put_words(words[slot], out, first)


@njit(cache=True, nogil=True)
def _put_mask(row: Any, out: Any, start: int) -> Any:
    """Write the mask of non-zero words, eight to a byte; returns their number."""
    used = 0
    whole = row.shape[0] >> 3
    for m in range(whole):
        some = np.uint8(0)
        for b in range(8):
            some |= np.uint8(np.uint8(row[8 * m + b] != 0) << np.uint8(b))
        out[start + m] = some
        used += _BITS[some]
    some = np.uint8(0)
    for w in range(8 * whole, row.shape[0]):
        some |= np.uint8(np.uint8(row[w] != 0) << np.uint8(w & 7))
    if row.shape[0] > 8 * whole:
        out[start + whole] = some
    return used + _BITS[some]


@njit(cache=True, nogil=True)
def _put_bytes(row: Any, out: Any, mask: int, start: int) -> Any:
    """Write, for each word in the mask at ``out[mask]``, the mask of its non-zero bytes and these bytes; returns their end."""
    # unsigned: for an index that may be negative, Numba adds a check to every access
    end = np.uint64(start)
    for m in range((row.shape[0] + 7) >> 3):
        some = out[mask + m]
        while some:
            word = row[8 * m + _LOWEST[some]]
            some &= np.uint8(some - np.uint8(1))
            held = _held(word)
            out[end] = held
            # compress to the non-zero bytes; the next word overwrites the rest
            for step in range(3):
                moved = word & _MOVED[held, step]
                word = (word ^ moved) | (moved >> np.uint64(8 << step))
            end += np.uint64(1)
            _put_word(word, out, end)
            end += np.uint64(_BITS[held])
    return np.int64(end)


@njit(cache=True, nogil=True)
def _held(word: int) -> Any:
    """Bit mask of the non-zero bytes of a word."""
    tops = (((word & _SEVEN) + _SEVEN) | word) & _TOPS
    return np.uint8(((tops >> np.uint64(7)) * _GATHER) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _put_word(word: int, out: Any, at: int) -> None:
    # compiled to one store
    for b in range(8):
        out[at + np.uint64(b)] = np.uint8((word >> np.uint64(8 * b)) & np.uint64(0xFF))


@njit(cache=True, nogil=True)
def _put_words(row: Any, out: Any, start: int) -> Any:
    """Write the non-zero words; returns their end."""
    end = np.uint64(start)
    for w in range(row.shape[0]):
        if row[w] != 0:
            _put_word(row[w], out, end)
            end += np.uint64(8)
    return np.int64(end)


@njit(cache=True, nogil=True)
def _read(text: Any, lengths: Any, slots: Any, kind: int, words: Any) -> Any:
    """Decode n values; returns the index of the first that cannot be read, or -1. A length of -1: nothing is stored."""
    start = np.int64(0)
    for i in range(slots.shape[0]):
        if lengths[i] >= 0:
            if not _take_profile(text, start, start + lengths[i], kind, words[slots[i]]):
                return np.int64(i)
            start += lengths[i]
    return np.int64(-1)


@njit(cache=True, nogil=True)
def _take_profile(text: Any, start: int, stop: int, kind: int, row: Any) -> bool:
    """Decode one stored profile into its row; False if it is not valid. Reads 8 bytes at a time: ``text`` needs 8 bytes of padding."""
    if stop - start < HEADER or text[start] != FORMAT or text[start + 1] & ~np.uint8(WHOLE_WORDS) != kind:
        return False
    as_words = text[start + 1] >= WHOLE_WORDS
    written = np.int64(text[start + 2]) + (np.int64(text[start + 3]) << 8)
    row[:written] = 0
    mask = start + HEADER
    at = mask + (written + 7) // 8
    if at > stop:
        return False
    for m in range((written + 7) >> 3):
        some = text[mask + m]
        while some:
            w = 8 * m + _LOWEST[some]
            some &= np.uint8(some - np.uint8(1))
            held = np.uint8(0xFF)
            if not as_words:
                if at >= stop:
                    return False
                held = text[at]
                at += 1
            if at + _BITS[held] > stop or w >= written:
                return False
            if w < row.shape[0]:
                row[w] = _word_of(text, np.uint64(at), held)
            at += _BITS[held]
    return bool(at == stop)


@njit(cache=True, nogil=True)
def _word_of(stored: Any, at: int, held: int) -> Any:
    """The word whose non-zero bytes ``_put_bytes`` wrote."""
    word = np.uint64(0)
    # compiled to one load
    for b in range(8):
        word |= np.uint64(stored[at + np.uint64(b)]) << np.uint64(8 * b)
    word &= _LOW[_BITS[held]]
    for step in range(2, -1, -1):
        shift = np.uint64(8 << step)
        there = _MOVED[held, step]
        word = (word & ~(there >> shift)) | ((word << shift) & there)
    return word
