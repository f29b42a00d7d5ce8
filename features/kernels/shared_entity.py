"""Features of shared entities (merchant, device, ip) and of payers' frauds and declines: counts in tiles of event time.

Pure. A window is the sum of whole tiles up to the one that contains t; windows of fraud rates end LABEL_DELAY before. Tiles are
stored in rings: a tile's place is its number modulo the ring's size, and each ring keeps the number of its newest tile. A late
payment may need tiles that the ring no longer holds; such features are unknown (NaN), not 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from features.catalogue import FIRST_COLUMN, INDEX, LABEL_DELAY_S
from features.profile.records import (
    BUCKETS,
    DAY_TILES,
    DECLINED_TILES,
    FIVE_TILES,
    FRAUD_DAYS,
    HOUR_TILES,
    MINUTE_TILES,
    THIRD_TILES,
)

MINUTE_MS = 60_000
FIVE_MS = 300_000
HOUR_MS = 3_600_000
THIRD_MS = 8 * HOUR_MS
DAY_MS = 86_400_000
DELAY_THIRDS = LABEL_DELAY_S * 1000 // THIRD_MS
SHARED_ENTITIES = ("merchant", "device", "ip")
#: first column of merchant, device and ip
FIRST = np.array([FIRST_COLUMN["merchant"], FIRST_COLUMN["device"], FIRST_COLUMN["ip"]])
#: kinds of entity updates
PAID, LABEL, DECLINED = 0, 1, 2


def _of(name: str) -> int:
    return INDEX[f"merchant_{name}"] - FIRST_COLUMN["merchant"]


_COUNT, _SUM, _CARDS = _of("count_10m"), _of("sum_10m"), _of("cards_10m")
_MEAN, _RATIO, _BURST = _of("mean_30d"), _of("amount_ratio_mean_30d"), _of("burst_1h")
_DELAYED = _of("count_1d_delayed")
_AMOUNT = INDEX["amount"]
_FRAUDS = np.array([INDEX["card_frauds_30d"], INDEX["customer_frauds_30d"]])
_DECLINED = np.array([INDEX["card_declined_1h"], INDEX["customer_declined_1h"]])
#: a bucket's stamp is the minute modulo WRAP, plus one; 0 means empty
WEEK_MINUTES = 10_080
WRAP = 65_535
_LN = np.array([-BUCKETS * math.log(1 - k / BUCKETS) if k < BUCKETS else 621.0 for k in range(BUCKETS + 1)])


def shared_entity_features(payments: Any, slots: Any, arena: Any, out: Any) -> None:
    """Fill the columns of merchants, devices and ips; profiles are only read.

    Args:
        payments: ``features.kernels.columns.PAYMENT`` (n,).
        slots: int64 (n, 3): merchant, device, ip; -1 if absent (the columns stay NaN).
        arena: ``features.profile.records.SHARED_ENTITY`` records.
        out: float32 (n, WIDTH), with the transaction's own columns filled.
    """
    shared_entity_columns(payments, slots, arena, FIRST, _AMOUNT, out)


def fraud_features(payments: Any, slots: Any, arena: Any, out: Any) -> None:
    """Fill frauds and declines of cards and customers; ``slots`` int64 (n, 2), -1 if absent."""
    fraud_columns(payments, slots, arena, _FRAUDS, _DECLINED, out)


# Columns are arguments: cached compiled code keeps constants of other modules, so after a change of the catalogue alone it would
# still write to the old columns.


@njit(cache=True, nogil=True)
def shared_entity_columns(payments: Any, slots: Any, arena: Any, first: Any, amount: int, out: Any) -> None:
    """``shared_entity_features``; ``first`` int64 (3,): the first column of each kind."""
    for i in range(payments.shape[0]):
        for kind in range(3):
            if slots[i, kind] >= 0:
                _row(payments[i].event_ms, arena[slots[i, kind]], out[i, first[kind] :], out[i, amount])


@njit(cache=True, nogil=True)
def fraud_columns(payments: Any, slots: Any, arena: Any, frauds: Any, declined: Any, out: Any) -> None:
    """``fraud_features``; ``frauds`` and ``declined`` int64 (2,): the columns of card and customer."""
    for i in range(payments.shape[0]):
        for kind in range(2):
            if slots[i, kind] < 0:
                continue
            p = arena[slots[i, kind]]
            day, five = payments[i].event_ms // DAY_MS, payments[i].event_ms // FIVE_MS
            out[i, frauds[kind]] = _total(p.day_fraud, p.day, p.day % FRAUD_DAYS, day - 29, day)
            out[i, declined[kind]] = _total(p.declined, p.five, p.five % DECLINED_TILES, five - 11, five)
            if p.day - day > FRAUD_DAYS - 30:
                out[i, frauds[kind]] = np.nan
            if p.five - five > DECLINED_TILES - 12:
                out[i, declined[kind]] = np.nan


@njit(cache=True, nogil=True)
def _total(ring: Any, newest: int, end: int, first: int, last: int) -> Any:
    """Sum of those of the tiles first..last that the ring holds; ``newest`` is its newest tile, stored at place ``end``."""
    size = ring.shape[0]
    held: Any = np.int64(newest)
    first, last = max(first, held - size + 1), min(last, held)
    total: Any = np.int64(0)
    if last < first:
        return total
    # places are counted from the newest tile's: a division per sum would cost more than the sum
    stop = end - (held - last)
    start = stop - (last - first)
    if stop < 0:
        start, stop = start + size, stop + size
    # the ring's contiguous parts, in loops that compile to vector instructions
    if start >= 0:
        for j in range(start, stop + 1):
            total += np.int64(ring[j])
        return total
    for j in range(start + size, size):
        total += np.int64(ring[j])
    for j in range(stop + 1):
        total += np.int64(ring[j])
    return total


@njit(cache=True, nogil=True)
def _row(t: int, p: Any, row: Any, amount: float) -> None:
    minute, five, hour, third, day = t // MINUTE_MS, t // FIVE_MS, t // HOUR_MS, t // THIRD_MS, t // DAY_MS
    end = p.minute % MINUTE_TILES
    row[_COUNT] = _total(p.minute_count, p.minute, end, minute - 9, minute)
    row[_SUM] = _total(p.minute_sum, p.minute, end, minute - 9, minute)
    end = p.five % FIVE_TILES
    in_hour = _total(p.five_count, p.five, end, five - 11, five)
    row[_COUNT + 1] = in_hour
    row[_SUM + 1] = _total(p.five_sum, p.five, end, five - 11, five)
    end = p.hour % HOUR_TILES
    row[_COUNT + 2] = _total(p.hour_count, p.hour, end, hour - 23, hour)
    row[_SUM + 2] = _total(p.hour_sum, p.hour, end, hour - 23, hour)
    end = p.day % DAY_TILES
    week = _total(p.day_sum, p.day, end, day - 6, day)
    row[_SUM + 3] = week
    count = _total(p.day_count, p.day, end, day - 29, day)
    if count > 0:
        mean = (week + _total(p.day_sum, p.day, end, day - 29, day - 7)) / count
        row[_MEAN] = mean
        row[_RATIO] = amount / max(mean, 1.0)
    newest, end = p.third, p.third % THIRD_TILES
    matured = third - DELAY_THIRDS - 1
    in_week = _total(p.third_count, newest, end, third - 20, third)
    # both months end a week apart: their common tiles are summed once
    between = _total(p.third_count, newest, end, matured + 1, third - 21)
    day_old = _total(p.third_count, newest, end, matured - 2, matured)
    week_old = day_old + _total(p.third_count, newest, end, matured - 20, matured - 3)
    common = week_old + _total(p.third_count, newest, end, third - 89, matured - 21)
    row[_COUNT + 3] = in_week
    row[_COUNT + 4] = in_week + between + common
    row[_BURST] = in_hour / max(in_week / 168.0, 1.0)
    _cards(minute, p.last_ms // MINUTE_MS, p.card_minute, row)
    month_old = common + _total(p.third_count, newest, end, matured - 89, third - 90)
    frauds, last = 0, matured
    for k in range(3):
        first = matured - (2 if k == 0 else 20 if k == 1 else 89)
        count = day_old if k == 0 else week_old if k == 1 else month_old
        frauds += _total(p.third_fraud, newest, end, first, last)
        row[_DELAYED + 2 * k] = count
        row[_DELAYED + 2 * k + 1] = frauds / count if count > 0 else 0.0
        last = first - 1
    if p.minute > minute or newest > third:
        _forgotten(minute, five, hour, third, day, p, row)


@njit(cache=True, nogil=True)
def _forgotten(minute: int, five: int, hour: int, third: int, day: int, p: Any, row: Any) -> None:
    """Set to NaN what a late payment would read from tiles no longer held, and card counts that later payments have changed."""
    if p.minute - minute > MINUTE_TILES - 10:
        row[_COUNT], row[_SUM] = np.nan, np.nan
    if p.five - five > FIVE_TILES - 12:
        row[_COUNT + 1], row[_SUM + 1], row[_BURST] = np.nan, np.nan, np.nan
    if p.hour - hour > HOUR_TILES - 24:
        row[_COUNT + 2], row[_SUM + 2] = np.nan, np.nan
    if p.day - day > DAY_TILES - 7:
        row[_SUM + 3] = np.nan
    if p.day - day > DAY_TILES - 30:
        row[_MEAN], row[_RATIO] = np.nan, np.nan
    behind = p.third - third
    if behind > THIRD_TILES - 21:
        row[_COUNT + 3], row[_BURST] = np.nan, np.nan
    if behind > THIRD_TILES - 90:
        row[_COUNT + 4] = np.nan
    for k in range(3):
        kept = THIRD_TILES - DELAY_THIRDS - 1 - (3 if k == 0 else 21 if k == 1 else 90)
        # the ring has no spare tile for the longest window: one missing tile is accepted
        if behind > max(kept, 1):
            row[_DELAYED + 2 * k], row[_DELAYED + 2 * k + 1] = np.nan, np.nan
    behind = p.last_ms // MINUTE_MS - minute
    for k in range(4):
        if behind > (10 if k == 0 else 60 if k == 1 else 1440):
            row[_CARDS + k] = np.nan


@njit(cache=True, nogil=True)
def _cards(minute: int, newest: int, stamps: Any, row: Any) -> None:
    """Number of distinct cards by linear counting (Whang et al. 1990); each bucket stores its newest minute."""
    own = minute % WRAP
    if minute - newest >= WEEK_MINUTES:
        # no card for a week; older stamps would look recent after the minutes wrap around
        for k in range(4):
            row[_CARDS + k] = 0.0
        return
    top = np.uint16(own + 1)
    used_0, used_1, used_2, used_3 = np.uint16(0), np.uint16(0), np.uint16(0), np.uint16(0)
    for j in range(BUCKETS):
        # 16-bit arithmetic without branches, for vector instructions; minutes wrap at WRAP, one less than 16 bits do
        age = np.uint16(np.uint16(top - stamps[j]) - np.uint16(stamps[j] > top))
        there = np.uint16(stamps[j] != 0)
        used_0 = np.uint16(used_0 + (there & np.uint16(age < np.uint16(10))))
        used_1 = np.uint16(used_1 + (there & np.uint16(age < np.uint16(60))))
        used_2 = np.uint16(used_2 + (there & np.uint16(age < np.uint16(1440))))
        used_3 = np.uint16(used_3 + (there & np.uint16(age < np.uint16(WEEK_MINUTES))))
    row[_CARDS] = round(_LN[used_0])
    row[_CARDS + 1] = round(_LN[used_1])
    row[_CARDS + 2] = round(_LN[used_2])
    row[_CARDS + 3] = round(_LN[used_3])


@njit(cache=True, nogil=True)
def apply_items(
    slots: Any,
    offsets: Any,
    kinds: Any,
    event_ms: Any,
    amounts: Any,
    card_hashes: Any,
    frauds: Any,
    arena: Any,
) -> None:
    """Apply entity updates to shared entities, in order: payments are counted, labels change the fraud count of the event's tile.

    Args:
        slots, offsets, event_ms, amounts, frauds: int64 (n,); ``offsets`` on `entities`, -1 if there is none.
        kinds: int64 (n,), PAID or LABEL.
        card_hashes: uint32 (n,).
    """
    for i in range(slots.shape[0]):
        p, t = arena[slots[i]], event_ms[i]
        if offsets[i] >= 0:
            p.offset = offsets[i]
        third = t // THIRD_MS
        place = third % THIRD_TILES
        p.third = _advance(third, p.third, p.third_count, p.third_fraud)
        if kinds[i] == LABEL:
            if third > p.third - THIRD_TILES:
                value = np.int64(p.third_fraud[place]) + frauds[i]
                p.third_fraud[place] = min(max(value, 0), 65535)
            continue
        if third > p.third - THIRD_TILES:
            p.third_count[place] += 1
        p.minute = _pay(t // MINUTE_MS, amounts[i], p.minute, p.minute_count, p.minute_sum)
        p.five = _pay(t // FIVE_MS, amounts[i], p.five, p.five_count, p.five_sum)
        p.hour = _pay(t // HOUR_MS, amounts[i], p.hour, p.hour_count, p.hour_sum)
        before: Any = np.int64(p.day)
        p.day = _pay(t // DAY_MS, amounts[i], p.day, p.day_count, p.day_sum)
        if p.day > before:
            _sweep(t // MINUTE_MS, p.last_ms // MINUTE_MS, p.card_minute)
        _stamp(t // MINUTE_MS, p.last_ms, _bucket(card_hashes[i]), p.card_minute)
        if p.first_ms == 0 or t < p.first_ms:
            p.first_ms = t
        if t > p.last_ms:
            p.last_ms = t


@njit(cache=True, nogil=True)
def apply_frauds(slots: Any, offsets: Any, kinds: Any, event_ms: Any, frauds: Any, arena: Any) -> None:
    """Apply labels (LABEL) and declines (DECLINED) to payers, in order; arguments as in ``apply_items``."""
    for i in range(slots.shape[0]):
        p, t = arena[slots[i]], event_ms[i]
        if offsets[i] >= 0:
            p.offset = offsets[i]
        day, five = t // DAY_MS, t // FIVE_MS
        if kinds[i] == LABEL:
            p.day = _advance(day, p.day, p.day_fraud, p.day_fraud)
            if day > p.day - FRAUD_DAYS:
                value = np.int64(p.day_fraud[day % FRAUD_DAYS]) + frauds[i]
                p.day_fraud[day % FRAUD_DAYS] = min(max(value, 0), 65535)
        else:
            p.five = _advance(five, p.five, p.declined, p.declined)
            if five > p.five - DECLINED_TILES:
                value = np.int64(p.declined[five % DECLINED_TILES]) + 1
                p.declined[five % DECLINED_TILES] = min(value, 65535)


@njit(cache=True, nogil=True)
def _advance(tile: int, newest: int, ring: Any, second: Any) -> Any:
    """Clear the tiles after the newest up to ``tile``, if that is newer; returns the newest tile."""
    size = ring.shape[0]
    if tile <= newest:
        return np.int64(newest)
    if tile - newest >= size:
        ring[:] = 0
        second[:] = 0
        return np.int64(tile)
    # count up instead of dividing for each tile: after a quiet time there are many
    place = (np.int64(newest) + 1) % size
    for _ in range(tile - newest):
        ring[place] = 0
        second[place] = 0
        place = place + 1 if place + 1 < size else 0
    return np.int64(tile)


@njit(cache=True, nogil=True)
def _pay(tile: int, amount: int, newest: int, counts: Any, sums: Any) -> Any:
    """Count a payment in its tile, if the ring still holds that; returns the newest tile."""
    newest = _advance(tile, newest, counts, sums)
    size = counts.shape[0]
    if tile > newest - size:
        counts[tile % size] += 1
        sums[tile % size] += amount
    return newest


@njit(cache=True, nogil=True)
def _bucket(card_hash: int) -> Any:
    """A card's bucket. CRCs of similar names are similar, so their bits are mixed first (MurmurHash3's last step)."""
    h = np.uint32(card_hash)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return (h ^ (h >> np.uint32(16))) % np.uint32(BUCKETS)


@njit(cache=True, nogil=True)
def _stamp(minute: int, last_ms: int, bucket: int, stamps: Any) -> None:
    """Set the bucket's newest minute; a payment more than a week behind the newest one is ignored."""
    newest = max(last_ms // MINUTE_MS, minute)
    if newest - minute > WEEK_MINUTES:
        return
    if stamps[bucket] != 0:
        age = newest % WRAP - (np.int64(stamps[bucket]) - 1)
        if age < 0:
            age += WRAP
        if age <= newest - minute:
            return
    stamps[bucket] = minute % WRAP + 1


@njit(cache=True, nogil=True)
def _sweep(minute: int, newest: int, stamps: Any) -> None:
    """Once a day, clear stamps older than every window, before the minutes wrap around after 45 days."""
    for j in range(BUCKETS):
        if stamps[j] == 0:
            continue
        age = newest % WRAP - (np.int64(stamps[j]) - 1)
        if age < 0:
            age += WRAP
        if age + (minute - newest) > WEEK_MINUTES:
            stamps[j] = 0
