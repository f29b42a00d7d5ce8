"""A batch's reads and writes as the bytes that go to Redis, made by one compiled loop each.

What ``features.store.keys`` says for one entity (``hmget``, ``hset``), for many at a sixth of the cost; tests hold the
two against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from features.profile.codec import (
    IN_PARTS,
    KINDS,
    LAYOUT,
    MAX_BYTES,
    max_bytes,
    put_profile,
    put_since,
    words_of,
)
from features.store.keys import (
    KEEP_S,
    KEY_SUFFIX,
    View,
    key_prefix,
    profile_bulk,
    read_fields,
    scalar_bulks,
    since_bulk,
    timestamp_bulk,
)
from features.store.redis_client import Packed

_EXPIRE = np.frombuffer(b"*3\r\n$6\r\nEXPIRE\r\n", dtype=np.uint8)
_EXPIRE_END = np.frombuffer(b"$%d\r\n%d\r\n" % (len(str(KEEP_S)), KEEP_S), dtype=np.uint8)
_HSET = np.frombuffer(b"$4\r\nHSET\r\n", dtype=np.uint8)
_SUFFIX = np.frombuffer(KEY_SUFFIX, dtype=np.uint8)
#: bytes of a command beside its key and profile: heads, fields, numbers
_OVERHEAD = 512
_LINE = 10
Bytes = npt.NDArray[np.uint8]


class Names(NamedTuple):
    """Ids of entities of one kind, as one run of UTF-8; ``ends`` (n + 1,) says where each begins."""

    text: Bytes
    ends: npt.NDArray[np.int64]


def names_of(ids: Sequence[str]) -> Names:
    """Ids as bytes, in their order."""
    # encoded in one go, at half the cost; an id that holds a line's end itself shows in their number
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
    # of the same type as above: arrays that cannot be written to would be compiled for once more
    return Names(np.frombuffer(bytearray(b"".join(encoded)), dtype=np.uint8), ends)


def pack_hmget(ids: Sequence[str], *views: View) -> Packed:
    """One HMGET per id that reads its profile from each of ``views``, all of one entity (``layout.read_fields``)."""
    if not ids:
        return Packed(b"", 0)
    names = names_of(ids)
    head = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + sum(len(read_fields(view)) for view in views))
    tail = b"".join([profile_bulk(view) + since_bulk(view) for view in views])
    out = np.empty(int(names.ends[-1]) + len(ids) * (len(head) + len(tail) + _OVERHEAD), dtype=np.uint8)
    prefix = np.frombuffer(key_prefix(views[0].entity), dtype=np.uint8)
    parts = np.frombuffer(head, dtype=np.uint8), np.frombuffer(tail, dtype=np.uint8)
    end = _hmget(names.text, names.ends, prefix, _SUFFIX, *parts, out)
    return Packed(out[:end].tobytes(), len(ids))


class Parts(NamedTuple):
    """What a writer knows of the profiles that it writes in parts: of each, what was last written whole, and what it wrote since.

    ``bases``: an arena. ``slots``: (n,) of it, for those that are to be written. ``book``: int64 (arena's length, 3): how often it was
    written, the first time whole (0: nothing can be added to what stands in the store), the bytes of all these, those of the whole
    one. Of one that was read, as if it had been written whole once.
    """

    bases: npt.NDArray[np.void]
    slots: npt.NDArray[np.int64]
    book: npt.NDArray[np.int64]


def pack_hset(
    view: View,
    ids: Sequence[str],
    arena: npt.NDArray[np.void],
    slots: npt.NDArray[np.int64],
    moments: npt.NDArray[np.int64],
    scalars: npt.NDArray[np.int64],
    expire: npt.NDArray[np.bool_],
    layout: int = LAYOUT,
    parts: Parts | None = None,
) -> Packed:
    """One HSET per id: its profile, the view's scalars, the view's timestamp; and an EXPIRE where asked for.

    Args:
        slots: (n,) of ``arena``, in the order of ``ids``.
        moments: (n,) milliseconds. scalars: (n, numbers of the view). expire: (n,).
        layout: of the profiles, see ``features.profile.codec.put_profile``.
        parts: with it, a profile is written whole only as often as that saves bytes, and noted there; else only what came since. What is
            returned must be sent, then. Without it (or in another layout) each is whole.

    Raises:
        ValueError: the scalars are not the view's: such a command would be another one.
    """
    if scalars.shape != (len(ids), len(view.numbers)):
        raise ValueError(f"scalars of {view.name} have shape {scalars.shape}")
    n = len(ids)
    if not n:
        return Packed(b"", 0)
    names = names_of(ids)
    if parts is None or layout != IN_PARTS:
        parts, layout = _WHOLE[arena.dtype], min(layout, LAYOUT)
    fields = [profile_bulk(view), since_bulk(view), *scalar_bulks(view), timestamp_bulk(view)]
    joined = np.frombuffer(b"".join(fields), dtype=np.uint8)
    ends = np.zeros(len(fields) + 1, dtype=np.int64)
    np.cumsum([len(field) for field in fields], out=ends[1:])
    words = words_of(arena)
    each = int(ends[-1]) + _OVERHEAD + max_bytes(words.shape[1])
    out = np.empty(2 * int(names.ends[-1]) + n * each, dtype=np.uint8)
    prefix = np.frombuffer(key_prefix(view.entity), dtype=np.uint8)
    end = _hset(
        names.text, names.ends, prefix, _SUFFIX, joined, ends, words, np.ascontiguousarray(slots, dtype=np.int64),
        KINDS[arena.dtype], layout, words_of(parts.bases), np.ascontiguousarray(parts.slots, dtype=np.int64), parts.book,
        np.ascontiguousarray(moments, dtype=np.int64), np.ascontiguousarray(scalars, dtype=np.int64),
        np.ascontiguousarray(expire, dtype=np.bool_), _EXPIRE, _EXPIRE_END, out,
    )  # fmt: skip
    return Packed(out[:end].tobytes(), n + int(np.count_nonzero(expire)))


#: where nothing is written in parts
_WHOLE = {
    dtype: Parts(np.zeros(2, dtype), np.zeros(0, dtype=np.int64), np.zeros((2, 3), dtype=np.int64)) for dtype in KINDS
}  # fmt: skip


@njit(cache=True, nogil=True)
def _hmget(text: Any, ends: Any, prefix: Any, suffix: Any, head: Any, tail: Any, out: Any) -> int:
    at = 0
    for i in range(ends.shape[0] - 1):
        at = _put(head, 0, head.shape[0], out, at)
        at = _put_key(text, ends[i], ends[i + 1], prefix, suffix, out, at)
        at = _put(tail, 0, tail.shape[0], out, at)
    return at


@njit(cache=True, nogil=True)
def _hset(
    text: Any, ends: Any, prefix: Any, suffix: Any, fields: Any, field_ends: Any, words: Any, slots: Any, kind: int,
    layout: int, bases: Any, base_slots: Any, book: Any, moments: Any, scalars: Any, expire: Any, expire_head: Any,
    expire_end: Any, out: Any,
) -> int:  # fmt: skip
    value = np.empty(32, dtype=np.uint8)
    changed = np.empty(words.shape[1], dtype=np.uint64)
    profile = np.empty(max_bytes(words.shape[1]), dtype=np.uint8)
    at = 0
    for i in range(slots.shape[0]):
        # the profile or what came since, the numbers, the timestamp: each is a field and its value
        pairs = 2 + scalars.shape[1]
        first, whole = 0, True
        if layout == IN_PARTS:
            size = _put_part(words[slots[i]], bases, base_slots[i], book, kind, changed, profile)
            first, whole = 1, size == 0
            if whole:
                first, pairs = 0, pairs + 1
                size = put_profile(words, slots[i], kind, layout, profile, 0)
                _note_whole(words[slots[i]], bases, base_slots[i], book, size, profile[1] == IN_PARTS)
        else:
            size = put_profile(words, slots[i], kind, layout, profile, 0)
        at = _put_head(2 + 2 * pairs, out, at)
        at = _put_key(text, ends[i], ends[i + 1], prefix, suffix, out, at)
        at = _put(fields, field_ends[first], field_ends[first + 1], out, at)
        at = _put_bytes_value(profile, size, value, out, at)
        if layout == IN_PARTS and whole:
            # nothing came since
            at = _put(fields, field_ends[1], field_ends[2], out, at)
            at = _put_bytes_value(profile, 0, value, out, at)
        for k in range(scalars.shape[1]):
            # protobuf Value with int64_val
            at = _put(fields, field_ends[2 + k], field_ends[3 + k], out, at)
            value[0] = 0x20
            size = _put_varint(scalars[i, k], value, 1)
            at = _put_length(size, out, at)
            at = _end_line(_put(value, 0, size, out, at), out)
        last = 2 + scalars.shape[1]
        at = _put(fields, field_ends[last], field_ends[last + 1], out, at)
        # protobuf Timestamp; zero fields are left out
        size = 0
        seconds, rest = moments[i] // 1000, moments[i] % 1000
        if seconds != 0:
            value[size] = 0x08
            size = _put_varint(seconds, value, size + 1)
        if rest != 0:
            value[size] = 0x10
            size = _put_varint(rest * 1_000_000, value, size + 1)
        at = _put_length(size, out, at)
        at = _end_line(_put(value, 0, size, out, at), out)
        if expire[i]:
            at = _put(expire_head, 0, expire_head.shape[0], out, at)
            at = _put_key(text, ends[i], ends[i + 1], prefix, suffix, out, at)
            at = _put(expire_end, 0, expire_end.shape[0], out, at)
    return at


@njit(cache=True, nogil=True)
def _put_part(row: Any, bases: Any, slot: int, book: Any, kind: int, changed: Any, out: Any) -> Any:
    """What came since a profile was written whole, its size; 0 where it is to be written whole again.

    What came since grows with every write. The mean of all bytes since the whole one is least where one more would be above that mean.
    """
    writes, spent, whole = book[slot, 0], book[slot, 1], book[slot, 2]
    if writes == 0:
        return 0
    size = put_since(row, bases[slot], kind, changed, out, 0)
    if size * writes > spent or whole + size > MAX_BYTES:
        return 0
    book[slot, 0], book[slot, 1] = writes + 1, spent + size
    return size


@njit(cache=True, nogil=True)
def _note_whole(row: Any, bases: Any, slot: int, book: Any, size: int, in_parts: bool) -> None:
    book[slot, 0] = 1 if in_parts else 0
    book[slot, 1] = book[slot, 2] = size
    for w in range(row.shape[0]):
        bases[slot, w] = row[w]


@njit(cache=True, nogil=True)
def _put_head(parts: int, out: Any, at: int) -> Any:
    """An HSET of so many parts, up to its key; no view has numbers enough for a hundred."""
    out[at] = 42
    at += 1
    if parts >= 10:
        out[at] = 48 + parts // 10
        at += 1
    out[at] = 48 + parts % 10
    at = _end_line(at + 1, out)
    return _put(_HSET, 0, _HSET.shape[0], out, at)


@njit(cache=True, nogil=True)
def _put_bytes_value(bytes_: Any, size: int, value: Any, out: Any, at: int) -> Any:
    """protobuf Value with bytes_val, as one argument; its size stands before it."""
    value[0] = 0x0A
    begun = _put_varint(size, value, 1)
    at = _put_length(begun + size, out, at)
    at = _put(value, 0, begun, out, at)
    return _end_line(_put(bytes_, 0, size, out, at), out)


@njit(cache=True, nogil=True)
def _put(source: Any, start: int, stop: int, out: Any, at: int) -> int:
    # unsigned: places that might be negative are looked at again with each byte
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
    """``$size`` and the line's end."""
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


@njit(cache=True, nogil=True)
def _put_varint(number: int, out: Any, at: int) -> int:
    rest = np.uint64(number)
    while rest >= np.uint64(0x80):
        out[at] = (rest & np.uint64(0x7F)) | np.uint64(0x80)
        rest >>= np.uint64(7)
        at += 1
    out[at] = rest
    return at + 1


@njit(cache=True, nogil=True)
def _put_key(text: Any, start: int, stop: int, prefix: Any, suffix: Any, out: Any, at: int) -> Any:
    """The entity's key as Feast serialises it, as one argument."""
    size = stop - start
    at = _put_length(prefix.shape[0] + 4 + size + suffix.shape[0], out, at)
    at = _put(prefix, 0, prefix.shape[0], out, at)
    for b in range(4):
        out[at + b] = (size >> (8 * b)) & 0xFF
    at = _put(text, start, stop, out, at + 4)
    return _end_line(_put(suffix, 0, suffix.shape[0], out, at), out)
