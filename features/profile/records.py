"""Profiles: fixed-size binary records of one entity. Three kinds: a payer (card or customer), a shared entity (merchant, device,
ip), the frauds and declines of a payer.

An arena is an array of records that the kernels work on; ``features.profile.codec`` encodes a record for storage. Little-endian,
aligned, sizes in whole words of 8 bytes. New fields are appended at the end; an older record reads as zero there. Any other change is
a new format (``features.profile.codec``).

A new field is zero in every stored profile, so features that read it are wrong until its window has passed. Raise STATE_VERSION when
you append such a field or change what a kernel keeps in one: the new state is then built from the log beside the old one
(``tollgate features prepare``, decision 18).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: version of the state that this code reads and writes; the store may hold other versions too
STATE_VERSION = 1

#: number of a payer's newest payments that are kept in full; older ones keep time and amount, in groups beyond ``OLD``
RECENT = 40
OLD = 90
MERCHANTS, DEVICES, COUNTRIES, CATEGORIES, CHANNELS = 16, 6, 4, 8, 5
#: event-time tiles of a shared entity: a window plus the current tile; the 8-hour tiles cover 30 days and the delay of 7 days
MINUTE_TILES, FIVE_TILES, HOUR_TILES, THIRD_TILES, DAY_TILES = 11, 13, 25, 112, 32
#: buckets of the distinct-card sketch
BUCKETS = 128
FRAUD_DAYS, DECLINED_TILES = 40, 14

_PAYMENT = np.dtype(
    [
        ("t", "<u4"), ("amount", "<u4"), ("id", "<u2"), ("merchant", "<u2"), ("amount_high", "u1"), ("country", "u1"),
        ("device", "u1"), ("unused", "u1"),
    ]
)  # fmt: skip

PAYER = np.dtype(
    [
        ("offset", "<i8"), ("base_ms", "<i8"), ("first_ms", "<i8"), ("last_ms", "<i8"), ("place_ms", "<i8"),
        ("place_lat", "<f4"), ("place_lon", "<f4"), ("home_lat", "<f4"), ("home_lon", "<f4"),
        ("places", "<u4"), ("n", "<u2"), ("old_n", "<u2"), ("home_country", "<u2"), ("home_votes", "<i2"),
        ("hours", "<u2", (24,)), ("channels", "<u2", (CHANNELS,)), ("category", "<u2", (CATEGORIES,)),
        ("category_count", "<u2", (CATEGORIES,)), ("old_first", "<u2"),
        # time of the first payment with each, packed as milliseconds << 16 | hash
        ("merchants", "<i8", (MERCHANTS,)), ("devices", "<i8", (DEVICES,)), ("countries", "<i8", (COUNTRIES,)),
        ("recent", _PAYMENT, (RECENT,)),
        ("old_t", "<u4", (OLD,)), ("old_amount", "<u4", (OLD,)), ("old_count", "<u2", (OLD,)), ("old_high", "u1", (OLD,)),
    ],
    align=True,
)  # fmt: skip

SHARED_ENTITY = np.dtype(
    [
        ("offset", "<i8"), ("first_ms", "<i8"), ("last_ms", "<i8"),
        ("minute", "<i4"), ("five", "<i4"), ("hour", "<i4"), ("third", "<i4"), ("day", "<i4"), ("unused", "<i4"),
        ("minute_sum", "<i8", (MINUTE_TILES,)), ("five_sum", "<i8", (FIVE_TILES,)), ("hour_sum", "<i8", (HOUR_TILES,)),
        ("day_sum", "<i8", (DAY_TILES,)),
        ("minute_count", "<u4", (MINUTE_TILES,)), ("five_count", "<u4", (FIVE_TILES,)), ("hour_count", "<u4", (HOUR_TILES,)),
        ("third_count", "<u4", (THIRD_TILES,)), ("day_count", "<u4", (DAY_TILES,)),
        ("third_fraud", "<u2", (THIRD_TILES,)), ("card_minute", "<u2", (BUCKETS,)),
    ],
    align=True,
)  # fmt: skip

FRAUDS = np.dtype(
    [
        ("offset", "<i8"), ("day", "<i4"), ("five", "<i4"), ("day_fraud", "<u2", (FRAUD_DAYS,)),
        ("declined", "<u2", (DECLINED_TILES,)), ("unused", "<u2", (2,)),
    ],
    align=True,
)  # fmt: skip


def new_arena(dtype: np.dtype, size: int) -> npt.NDArray[np.void]:
    """At least ``size`` empty profiles; ``offset`` -1 means that nothing was applied yet.

    At least two: NumPy calls a column of one element contiguous, which is another type to the compiled kernels. They would be
    compiled again, for many seconds, at the first batch with a single card.
    """
    arena = np.zeros(max(2, size), dtype=dtype)
    arena["offset"] = -1
    return arena
