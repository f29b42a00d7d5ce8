"""What is remembered of one card and of one merchant, device, ip or customer: fixed binary records, version first.

A record's bytes are the profile as stored online (one bytes feature); many records are an arena that the kernel works
on. Little-endian, aligned. A new version appends fields; a reader refuses a version it does not know.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

VERSION = 1
#: events of a card that are kept as they are
RING = 112
DEVICES = 8
#: tiles: days cover 30 days behind the 7 days of reporting delay; hours a day; five minutes an hour
DAY_TILES = 40
HOUR_TILES = 26
FIVE_TILES = 14
RECENT_CARDS = 32

CARD = np.dtype(
    [
        ("version", "<u2"),
        ("n", "<u2"),
        ("home_country", "<u2"),
        ("home_votes", "<i2"),
        ("device_head", "<u2"),
        ("offset", "<i8"),
        ("base_ms", "<i8"),
        ("first_ms", "<i8"),
        ("last_ms", "<i8"),
        ("place_ms", "<i8"),
        ("place_lat", "<f4"),
        ("place_lon", "<f4"),
        ("home_lat", "<f4"),
        ("home_lon", "<f4"),
        ("places", "<u4"),
        ("hours", "<u2", (24,)),
        ("devices", "<u4", (DEVICES,)),
        ("ring_t", "<u4", (RING,)),
        ("ring_amount", "<u4", (RING,)),
        ("ring_id", "<u4", (RING,)),
        ("ring_merchant", "<u2", (RING,)),
        ("ring_amount_high", "u1", (RING,)),
        ("ring_country", "u1", (RING,)),
    ],
    align=True,
)

ENTITY = np.dtype(
    [
        ("version", "<u2"),
        ("card_head", "<u2"),
        ("day", "<i4"),
        ("hour", "<i4"),
        ("five", "<i4"),
        ("offset", "<i8"),
        ("first_ms", "<i8"),
        ("last_ms", "<i8"),
        ("day_sum", "<i8", (DAY_TILES,)),
        ("day_count", "<u4", (DAY_TILES,)),
        ("hour_count", "<u4", (HOUR_TILES,)),
        ("five_count", "<u4", (FIVE_TILES,)),
        ("card_hash", "<u4", (RECENT_CARDS,)),
        ("card_s", "<u4", (RECENT_CARDS,)),
        ("day_fraud", "<u2", (DAY_TILES,)),
    ],
    align=True,
)


class CardState(NamedTuple):
    """Columns of an arena of cards, one array per field, first axis the slot. Views: the arena is what they write."""

    version: npt.NDArray[np.uint16]
    n: npt.NDArray[np.uint16]
    home_country: npt.NDArray[np.uint16]
    home_votes: npt.NDArray[np.int16]
    device_head: npt.NDArray[np.uint16]
    offset: npt.NDArray[np.int64]
    base_ms: npt.NDArray[np.int64]
    first_ms: npt.NDArray[np.int64]
    last_ms: npt.NDArray[np.int64]
    place_ms: npt.NDArray[np.int64]
    place_lat: npt.NDArray[np.float32]
    place_lon: npt.NDArray[np.float32]
    home_lat: npt.NDArray[np.float32]
    home_lon: npt.NDArray[np.float32]
    places: npt.NDArray[np.uint32]
    hours: npt.NDArray[np.uint16]
    devices: npt.NDArray[np.uint32]
    ring_t: npt.NDArray[np.uint32]
    ring_amount: npt.NDArray[np.uint32]
    ring_id: npt.NDArray[np.uint32]
    ring_merchant: npt.NDArray[np.uint16]
    ring_amount_high: npt.NDArray[np.uint8]
    ring_country: npt.NDArray[np.uint8]


class EntityState(NamedTuple):
    """Columns of an arena of merchants, devices, ips, customers and card fraud histories."""

    version: npt.NDArray[np.uint16]
    card_head: npt.NDArray[np.uint16]
    day: npt.NDArray[np.int32]
    hour: npt.NDArray[np.int32]
    five: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    first_ms: npt.NDArray[np.int64]
    last_ms: npt.NDArray[np.int64]
    day_sum: npt.NDArray[np.int64]
    day_count: npt.NDArray[np.uint32]
    hour_count: npt.NDArray[np.uint32]
    five_count: npt.NDArray[np.uint32]
    card_hash: npt.NDArray[np.uint32]
    card_s: npt.NDArray[np.uint32]
    day_fraud: npt.NDArray[np.uint16]


class ProfileError(Exception):
    """Stored bytes are not a profile of a version that this code reads."""


def new_arena(dtype: np.dtype, size: int) -> npt.NDArray[np.void]:
    """At least ``size`` empty profiles; ``offset`` -1 means that nothing was applied yet.

    Never fewer than two: NumPy calls a column of one element contiguous, another type to the compiled kernels, which
    would then be compiled again, for six seconds, when the first lone card comes.
    """
    arena = np.zeros(max(2, size), dtype=dtype)
    arena["version"] = VERSION
    arena["offset"] = -1
    return arena


def card_state(arena: npt.NDArray[np.void]) -> CardState:
    """The arena's columns, as the kernel takes them."""
    return CardState(*(arena[name] for name in CardState._fields))


def entity_state(arena: npt.NDArray[np.void]) -> EntityState:
    """The arena's columns, as the kernel takes them."""
    return EntityState(*(arena[name] for name in EntityState._fields))


def load_into(arena: npt.NDArray[np.void], slot: int, stored: bytes | None) -> bool:
    """Put stored bytes into a slot; False when there are none (the slot keeps its empty profile).

    Raises:
        ProfileError: another size or version.
    """
    if not stored:
        return False
    if len(stored) != arena.dtype.itemsize or int.from_bytes(stored[:2], "little") != VERSION:
        raise ProfileError(
            f"a stored profile has {len(stored)} bytes and version {int.from_bytes(stored[:2], 'little')}; "
            f"this code reads version {VERSION} of {arena.dtype.itemsize} bytes"
        )
    arena[slot] = np.frombuffer(stored, dtype=arena.dtype)[0]
    return True
