"""A batch's reads and writes as the bytes that go to Redis, made by one compiled loop each.

What ``features.online.layout`` says for one entity (``hmget``, ``hset``), for many at a sixth of the cost; tests hold the
two against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from features.codec import KINDS, LAYOUT, most_bytes, put_profile, words_of
from features.online.layout import (
    KEEP_S,
    KEY_SUFFIX,
    View,
    key_prefix,
    profile_bulk,
    scalar_bulks,
    timestamp_bulk,
)
from features.online.resp import Packed

_EXPIRE = np.frombuffer(b"*3\r\n$6\r\nEXPIRE\r\n", dtype=np.uint8)
_EXPIRE_END = np.frombuffer(b"$%d\r\n%d\r\n" % (len(str(KEEP_S)), KEEP_S), dtype=np.uint8)
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
    """One HMGET per id that reads its profile from each of ``views``, all of one entity."""
    if not ids:
        return Packed(b"", 0)
    names = names_of(ids)
    head = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(views))
    tail = b"".join([profile_bulk(view) for view in views])
    out = np.empty(int(names.ends[-1]) + len(ids) * (len(head) + len(tail) + _OVERHEAD), dtype=np.uint8)
    prefix = np.frombuffer(key_prefix(views[0].entity), dtype=np.uint8)
    parts = np.frombuffer(head, dtype=np.uint8), np.frombuffer(tail, dtype=np.uint8)
    end = _hmget(names.text, names.ends, prefix, _SUFFIX, *parts, out)
    return Packed(out[:end].tobytes(), len(ids))


def pack_hset(
    view: View,
    ids: Sequence[str],
    arena: npt.NDArray[np.void],
    slots: npt.NDArray[np.int64],
    moments: npt.NDArray[np.int64],
    scalars: npt.NDArray[np.int64],
    expire: npt.NDArray[np.bool_],
    layout: int = LAYOUT,
) -> Packed:
    """One HSET per id: its profile, the view's scalars, the view's timestamp; and an EXPIRE where asked for.

    Args:
        slots: (n,) of ``arena``, in the order of ``ids``.
        moments: (n,) milliseconds. scalars: (n, fields of the view less the profile). expire: (n,).
        layout: of the profiles, see ``features.codec.put_profile``.

    Raises:
        ValueError: the scalars are not the view's: such a command would be another one.
    """
    if scalars.shape != (len(ids), len(view.fields) - 1):
        raise ValueError(f"scalars of {view.name} have shape {scalars.shape}")
    n = len(ids)
    if not n:
        return Packed(b"", 0)
    names = names_of(ids)
    fields = [profile_bulk(view), *scalar_bulks(view), timestamp_bulk(view)]
    head = b"*%d\r\n$4\r\nHSET\r\n" % (2 + 2 * len(fields))
    parts = [head, *fields]
    ends = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=ends[1:])
    joined = np.frombuffer(b"".join(parts), dtype=np.uint8)
    words = words_of(arena)
    each = int(ends[-1]) + _OVERHEAD + most_bytes(words.shape[1])
    out = np.empty(2 * int(names.ends[-1]) + n * each, dtype=np.uint8)
    prefix = np.frombuffer(key_prefix(view.entity), dtype=np.uint8)
    end = _hset(
        names.text, names.ends, prefix, _SUFFIX, joined, ends, words, np.ascontiguousarray(slots, dtype=np.int64),
        KINDS[arena.dtype], layout, np.ascontiguousarray(moments, dtype=np.int64),
        np.ascontiguousarray(scalars, dtype=np.int64), np.ascontiguousarray(expire, dtype=np.bool_), _EXPIRE,
        _EXPIRE_END, out,
    )  # fmt: skip
    return Packed(out[:end].tobytes(), n + int(np.count_nonzero(expire)))


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
    text: Any, ends: Any, prefix: Any, suffix: Any, parts: Any, part_ends: Any, words: Any, slots: Any, kind: int,
    layout: int, moments: Any, scalars: Any, expire: Any, expire_head: Any, expire_end: Any, out: Any,
) -> int:  # fmt: skip
    value = np.empty(32, dtype=np.uint8)
    profile = np.empty(most_bytes(words.shape[1]), dtype=np.uint8)
    at = 0
    for i in range(slots.shape[0]):
        at = _put(parts, 0, part_ends[1], out, at)
        at = _put_key(text, ends[i], ends[i + 1], prefix, suffix, out, at)
        at = _put(parts, part_ends[1], part_ends[2], out, at)
        # protobuf Value with bytes_val; its size stands before it
        size = put_profile(words, slots[i], kind, layout, profile, 0)
        value[0] = 0x0A
        begun = _put_varint(size, value, 1)
        at = _put_length(begun + size, out, at)
        at = _put(value, 0, begun, out, at)
        at = _end_line(_put(profile, 0, size, out, at), out)
        for k in range(scalars.shape[1]):
            # protobuf Value with int64_val
            at = _put(parts, part_ends[2 + k], part_ends[3 + k], out, at)
            value[0] = 0x20
            size = _put_varint(scalars[i, k], value, 1)
            at = _put_length(size, out, at)
            at = _end_line(_put(value, 0, size, out, at), out)
        last = 2 + scalars.shape[1]
        at = _put(parts, part_ends[last], part_ends[last + 1], out, at)
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
