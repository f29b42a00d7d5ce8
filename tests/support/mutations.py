"""Real records made wrong: as a bad producer, a broken disk or an attacker would, always the same ones for one seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec

#: what is no record of any topic
CLASSICS: tuple[bytes | None, ...] = (
    None,
    b"",
    b"\0",
    b"not json",
    b"null",
    b"true",
    b"0",
    b'""',
    b"[]",
    b"{}",
    b"[{}]",
    b"NaN",
    b"-Infinity",
    b"1" + b"0" * 400,
    b"\xff",
    b"\xc1",
    b"\xef\xbb\xbf{}",
    b'{"\xff":1}',
    b'{"a":"\\ud800"}',
    b"[" * 50_000,
    b'{"a":' * 50_000,
    b"\x91" * 50_000,
    b"\x81\xa1a" * 30_000,
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b'{"a":1}{"a":1}',
    b'{"a":1}\n',
    b" " * 100_000,
)

#: what may stand where a field's value should
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**63 - 1,
    -(2**63),
    10**400,
    0.5,
    -1e308,
    "",
    "0",
    "\0",
    "x" * 5_000,
    "\u202e",
    "\U0001f4b3" * 64,
    "4111 1111 1111 1111",
    "2026-11-21T10:15:30",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "2026-02-30T00:00:00Z",
    [],
    {},
    [[[]]],
    {"a": {"b": 1}},
    [None] * 3,
)
_NUMBERS = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"9" * 400,
    b"1" + b"0" * 30,
    b"01",
    b"--1",
)


def mutations(record: bytes, count: int, seed: int = 1) -> Iterator[bytes]:
    """``count`` wrong versions of a JSON or MessagePack record; a few of them may be right by chance."""
    pick = random.Random(seed)
    is_json = record[:1] in (b"{", b"[")
    changes = [_bytes_flipped, _cut, _part_twice, _field_changed, _field_changed, _field_changed]
    if is_json:
        changes += [_number_written, _key_twice]
    for _ in range(count):
        yield pick.choice(changes)(record, pick)


def _bytes_flipped(record: bytes, pick: random.Random) -> bytes:
    out = bytearray(record)
    for _ in range(pick.randrange(1, 4)):
        out[pick.randrange(len(out))] = pick.randrange(256)
    return bytes(out)


def _cut(record: bytes, pick: random.Random) -> bytes:
    first = pick.randrange(len(record))
    return record[:first] + record[first + pick.randrange(len(record) - first) :]


def _part_twice(record: bytes, pick: random.Random) -> bytes:
    first = pick.randrange(len(record))
    last = min(len(record), first + pick.randrange(1, 40))
    return record[:last] + record[first:]


def _number_written(record: bytes, pick: random.Random) -> bytes:
    """A number as JSON knows none, after some colon."""
    places = [i for i, byte in enumerate(record) if byte == ord(":")]
    at = pick.choice(places) + 1
    end = at
    while end < len(record) and record[end] not in b",}]":
        end += 1
    return record[:at] + pick.choice(_NUMBERS) + record[end:]


def _key_twice(record: bytes, pick: random.Random) -> bytes:
    name = pick.choice(list(json.loads(record)) or ["a"])
    return b'{"%b":%b,' % (name.encode(), json.dumps(pick.choice(VALUES[:-8])).encode()) + record[1:]


def _field_changed(record: bytes, pick: random.Random) -> bytes:
    """Another value at some place of the structure, or one more, or one less."""
    packed = record[:1] not in (b"{", b"[")
    whole = msgspec.msgpack.decode(record) if packed else json.loads(record)
    holders = list(_holders(whole))
    if not holders:
        return record
    holder = pick.choice(holders)
    key = pick.randrange(len(holder)) if isinstance(holder, list) else pick.choice(list(holder))
    value = pick.choice(VALUES)
    if pick.random() < 0.1:
        del holder[key]
    else:
        holder[key] = pick.choice((b"", b"\xff" * 7)) if packed and value is True else _fitting(value, packed)
    return msgspec.msgpack.encode(whole) if packed else json.dumps(whole).encode()


def _holders(value: Any) -> Iterator[Any]:
    if isinstance(value, list | dict) and value:
        yield value
        for part in value.values() if isinstance(value, dict) else value:
            yield from _holders(part)


def _fitting(value: Any, packed: bool) -> Any:
    # MessagePack has no number of 400 digits
    return float("inf") if packed and value == 10**400 else value
