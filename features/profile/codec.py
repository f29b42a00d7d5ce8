"""A profile as stored: kind, layout, length, a mask of which of its words of 8 bytes are not zero, and those words: of each
a mask of which of its bytes are not zero, and those bytes.

A young profile is mostly zeros, and most of its numbers are small: a card with ten payments takes about 300 of 2,000
bytes, a device 100. Words as they are (layout 2) are read too, and written where that is shorter, which bounds the size.

Forward and backward: the length says how many words the writer knew. A reader with more takes the rest as zero, a reader
with fewer leaves the rest out (a profile that it writes then lacks them until the newer code writes it again); so fields
are only ever appended. A change that this does not cover raises the layout's number, and old layouts are either converted
here or refused.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY

HEADER = 4
#: in parts; 1 was the fixed records before the first release
IN_PARTS = 4
#: whole
LAYOUT = 3
#: the layout before, which is written where it is shorter
WHOLE_WORDS = 2
#: what came since says behind its header of which profile: by the low half of its first word, which is the offset
MARK = 4
#: a profile and what came since together
MAX_BYTES = 2048
#: a payer's payments with the frauds and declines beside them: two profiles, of which kernels can fill every word
MAX_BYTES_OF_A_PAYER = MAX_BYTES + 134
#: what reading a profile may come to, in place of words
NOTHING, UNREADABLE = -1, -2
KINDS = {PAYER: 1, SHARED_ENTITY: 2, FRAUDS: 3}
_NAMES = {1: "payer", 2: "shared entity", 3: "frauds"}
#: bytes of a word are looked at together: its low seven bits of each byte, their tops, and what gathers the tops to one byte
_SEVEN, _TOPS, _GATHER = (
    np.uint64(0x7F7F7F7F7F7F7F7F),
    np.uint64(0x8080808080808080),
    np.uint64(0x0102040810204080),
)


def _moves() -> npt.NDArray[np.uint64]:
    """How the bytes of a word that are not zero move together, by which they are: for each the bytes that move by 1, then by 2,
    then by 4 places, as masks, uint64 (256, 3) (Warren, Hacker's Delight, 7-4).
    """
    masks = np.zeros((256, 3), dtype=np.uint64)
    for held in range(256):
        # where each byte is now, and how far it has to go
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
    """Stored bytes are not a profile of a kind and layout that this code reads."""


def encode_profiles(
    arena: npt.NDArray[np.void], slots: npt.NDArray[np.int64], layout: int = LAYOUT
) -> list[bytes]:
    """The stored form of some profiles of an arena, at most ``itemsize * 65 / 64 + 5`` bytes each."""
    words = words_of(arena)
    out = np.empty(len(slots) * max_bytes(words.shape[1]) + 8, dtype=np.uint8)
    ends = np.empty(len(slots) + 1, dtype=np.int64)
    _pack(words, np.ascontiguousarray(slots, dtype=np.int64), KINDS[arena.dtype], layout, out, ends)
    whole = out[: ends[-1]].tobytes()
    bounds = ends.tolist()
    return [whole[start:end] for start, end in pairwise(bounds)]


def apart(kind: int) -> ProfileError:
    """What is said of a profile and what came since that do not belong together."""
    return ProfileError(
        f"what came since a stored profile ({_NAMES[kind]}) was written does not belong to it, or one of them is missing."
        " `tollgate features rebuild --clear` makes it again from the log"
    )


def words_of(arena: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """An arena's records as words, uint64 (n, itemsize / 8); a view."""
    words: npt.NDArray[np.uint64] = arena.view(np.uint64).reshape(len(arena), arena.dtype.itemsize // 8)
    return words


@njit(cache=True, nogil=True)
def max_bytes(words: int) -> int:
    """What ``put_profile`` may need to try what is shorter, for a profile of so many words."""
    return HEADER + (words + 7) // 8 + 9 * words + 8


def unread(stored: bytes, kind: int) -> ProfileError:
    """What is said of bytes that are no profile of a kind."""
    if len(stored) < HEADER:
        return ProfileError(f"a stored profile has {len(stored)} bytes: too few")
    found, layout = stored[0], stored[1]
    if found == kind and WHOLE_WORDS <= layout <= IN_PARTS:
        return ProfileError(
            f"a stored profile ({_NAMES[kind]}) of {len(stored)} bytes has not the length that it says"
        )
    return ProfileError(
        f"a stored profile is of kind {found}, layout {layout}; this code reads kind {kind} ({_NAMES[kind]}), layouts {WHOLE_WORDS} to"
        f" {IN_PARTS}. `tollgate features rebuild --clear` makes it again from the log"
    )


@njit(cache=True, nogil=True)
def _pack(words: Any, slots: Any, kind: int, layout: int, out: Any, ends: Any) -> None:
    ends[0] = 0
    for i in range(slots.shape[0]):
        ends[i + 1] = put_profile(words, slots[i], kind, layout, out, ends[i])


@njit(cache=True, nogil=True)
def put_profile(words: Any, slot: int, kind: int, layout: int, out: Any, start: int) -> Any:
    """Write a profile's stored form into ``out`` (``max_bytes``) from ``start`` on; returns where it ends.

    ``layout``: IN_PARTS, for one beside which will stand what came since; LAYOUT; or WHOLE_WORDS for those who read no other. Where
    whole words are shorter it is WHOLE_WORDS.
    """
    width = words.shape[1]
    out[start] = kind
    out[start + 2] = width & 0xFF
    out[start + 3] = width >> 8
    mask = start + HEADER
    first = mask + (width + 7) // 8
    used = _put_mask(words[slot], out, mask)
    if layout != WHOLE_WORDS:
        end = _put_bytes(words[slot], out, mask, first)
        if end - first <= 8 * used:
            out[start + 1] = layout
            return end
    out[start + 1] = WHOLE_WORDS
    return _put_words(words[slot], out, first)


@njit(cache=True, nogil=True)
def put_since(row: Any, base: Any, kind: int, changed: Any, out: Any, start: int) -> Any:
    """Write what came since ``base`` was written whole into ``out`` (``max_bytes``) from ``start`` on; returns where it ends.

    ``changed``: room for a row.
    """
    for w in range(row.shape[0]):
        changed[w] = row[w] ^ base[w]
    out[start] = kind
    out[start + 1] = IN_PARTS
    out[start + 2] = row.shape[0] & 0xFF
    out[start + 3] = row.shape[0] >> 8
    for b in range(MARK):
        out[start + HEADER + b] = np.uint8((base[0] >> np.uint64(8 * b)) & np.uint64(0xFF))
    mask = start + HEADER + MARK
    _put_mask(changed, out, mask)
    return _put_bytes(changed, out, mask, mask + (row.shape[0] + 7) // 8)


@njit(cache=True, nogil=True)
def _put_mask(row: Any, out: Any, start: int) -> Any:
    """Which words are not zero, eight to a byte; returns how many they are."""
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
    """Of each word that is not zero, as ``mask`` in ``out`` says: which of its bytes are not, and those; returns where they end."""
    # unsigned: a place that might be negative is looked at again with each byte
    end = np.uint64(start)
    for m in range((row.shape[0] + 7) >> 3):
        some = out[mask + m]
        while some:
            word = row[8 * m + _LOWEST[some]]
            some &= np.uint8(some - np.uint8(1))
            held = _held(word)
            out[end] = held
            # the bytes that are not zero move together; what is left behind them the next word writes over
            for step in range(3):
                moved = word & _MOVED[held, step]
                word = (word ^ moved) | (moved >> np.uint64(8 << step))
            end += np.uint64(1)
            _put_word(word, out, end)
            end += np.uint64(_BITS[held])
    return np.int64(end)


@njit(cache=True, nogil=True)
def _held(word: int) -> Any:
    """Which bytes of a word are not zero, a bit for each."""
    tops = (((word & _SEVEN) + _SEVEN) | word) & _TOPS
    return np.uint8(((tops >> np.uint64(7)) * _GATHER) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _put_word(word: int, out: Any, at: int) -> None:
    # compiled to one store
    for b in range(8):
        out[at + np.uint64(b)] = np.uint8((word >> np.uint64(8 * b)) & np.uint64(0xFF))


@njit(cache=True, nogil=True)
def _put_words(row: Any, out: Any, start: int) -> Any:
    """The words that are not zero; returns where they end."""
    end = np.uint64(start)
    for w in range(row.shape[0]):
        if row[w] != 0:
            _put_word(row[w], out, end)
            end += np.uint64(8)
    return np.int64(end)


@njit(cache=True, nogil=True)
def take_profile(text: Any, start: int, size: int, kind: int, row: Any) -> Any:
    """Put one stored profile into its row: how many words it has for which what came since is to be put in too; 0: it is whole; NOTHING:
    there is none (``size`` 0 or less), and the row stays as it is; UNREADABLE. Words are taken in one go: 8 bytes must lie behind ``text``.
    """
    if size <= 0:
        return np.int64(NOTHING)
    if size < HEADER or text[start] != kind:
        return np.int64(UNREADABLE)
    layout = text[start + 1]
    if layout < WHOLE_WORDS or layout > IN_PARTS:
        return np.int64(UNREADABLE)
    written = np.int64(text[start + 2]) + (np.int64(text[start + 3]) << 8)
    row[:written] = 0
    if not _put_in(text, start + HEADER, start + size, written, layout != WHOLE_WORDS, row):
        return np.int64(UNREADABLE)
    return written if layout == IN_PARTS else np.int64(0)


@njit(cache=True, nogil=True)
def take_since(text: Any, start: int, size: int, kind: int, row: Any, in_parts: int) -> Any:
    """Put what came since (``size`` -1: there is no such thing, 0: nothing) into the row of a profile of which ``take_profile`` said
    ``in_parts``; False where the two do not belong together.
    """
    if in_parts == 0:
        return True
    if in_parts < 0 or size < 0:
        return in_parts < 0 and size <= 0
    if size == 0:
        return True
    if size < HEADER + MARK or text[start] != kind or text[start + 1] != IN_PARTS:
        return False
    for b in range(MARK):
        if text[start + HEADER + b] != np.uint8((row[0] >> np.uint64(8 * b)) & np.uint64(0xFF)):
            return False
    written = np.int64(text[start + 2]) + (np.int64(text[start + 3]) << 8)
    return written == in_parts and _put_in(text, start + HEADER + MARK, start + size, written, True, row)


@njit(cache=True, nogil=True)
def _put_in(text: Any, mask: int, stop: int, written: int, in_bytes: bool, row: Any) -> bool:
    """XOR the words that stand from ``mask`` to ``stop`` into a row; False where they end too early or too late."""
    at = mask + (written + 7) // 8
    if at > stop:
        return False
    for m in range((written + 7) >> 3):
        some = text[mask + m]
        while some:
            w = 8 * m + _LOWEST[some]
            some &= np.uint8(some - np.uint8(1))
            held = np.uint8(0xFF)
            if in_bytes:
                if at >= stop:
                    return False
                held = text[at]
                at += 1
            if at + _BITS[held] > stop or w >= written:
                return False
            if w < row.shape[0]:
                row[w] ^= _word_of(text, np.uint64(at), held)
            at += _BITS[held]
    return bool(at == stop)


@njit(cache=True, nogil=True)
def _word_of(stored: Any, at: int, held: int) -> Any:
    """The word of the bytes that ``_put_bytes`` moved together."""
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
