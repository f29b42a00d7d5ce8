"""Features of merchants, devices, ips, customers, and the fraud history of cards: event-time tiles of days, hours, five minutes.

Pure. Reading sums whole tiles up to the one that holds t; what a fraud rate looks at ended LABEL_DELAY before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from features.catalogue import INDEX, LABEL_DELAY_S
from features.profiles import DAY_TILES, FIVE_TILES, HOUR_TILES, RECENT_CARDS

FIVE_MS = 300_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
DELAY_DAYS = LABEL_DELAY_S // 86_400
_M1H = INDEX["merchant_count_1h"]
_M_MEAN = INDEX["merchant_mean_30d"]
_M_RATIO = INDEX["merchant_amount_ratio_mean_30d"]
_M_CARDS = INDEX["merchant_cards_1h"]
_M_DELAYED = INDEX["merchant_count_1d_delayed"]
_SHARED = np.array([INDEX["device_count_1h"], INDEX["ip_count_1h"], INDEX["customer_count_1h"]])
_CARD_FRAUDS = INDEX["card_frauds_30d"]
_AMOUNT = INDEX["amount"]
MERCHANT, DEVICE, IP, CUSTOMER, CARD_FRAUD = range(5)


@njit(cache=True, nogil=True)
def entity_features(event_ms: Any, slots: Any, state: Any, out: Any) -> None:
    """Fill the columns of merchants, devices, ips, customers and card frauds; reads only.

    Args:
        event_ms: int64 (n,).
        slots: int64 (n, 5): merchant, device, ip, customer, card's fraud history; -1 where unknown (stays NaN).
        state: ``features.profiles.EntityState``.
        out: float32 (n, WIDTH), the transaction's columns already filled.
    """
    for i in range(event_ms.shape[0]):
        t = event_ms[i]
        if slots[i, MERCHANT] >= 0:
            _merchant_row(t, slots[i, MERCHANT], state, out[i])
        for kind in range(3):
            slot = slots[i, DEVICE + kind]
            if slot >= 0:
                _shared_row(t, slot, state, out[i], _SHARED[kind])
        if slots[i, CARD_FRAUD] >= 0:
            day = t // DAY_MS
            frauds = 0
            for d in range(day - 29, day + 1):
                if _holds(d, state.day[slots[i, CARD_FRAUD]], DAY_TILES):
                    frauds += state.day_fraud[slots[i, CARD_FRAUD], d % DAY_TILES]
            out[i, _CARD_FRAUDS] = frauds


@njit(cache=True, nogil=True)
def _holds(tile: int, newest: int, tiles: int) -> bool:
    return tile <= newest and tile > newest - tiles


@njit(cache=True, nogil=True)
def _counted(t: int, slot: int, state: Any) -> Any:
    """Counts of the last hour (five-minute tiles) and the last 24 hours (hour tiles)."""
    five, hour = t // FIVE_MS, t // HOUR_MS
    in_hour, in_day = 0, 0
    for tile in range(five - 11, five + 1):
        if _holds(tile, state.five[slot], FIVE_TILES):
            in_hour += state.five_count[slot, tile % FIVE_TILES]
    for tile in range(hour - 23, hour + 1):
        if _holds(tile, state.hour[slot], HOUR_TILES):
            in_day += state.hour_count[slot, tile % HOUR_TILES]
    return in_hour, in_day


@njit(cache=True, nogil=True)
def _days(first: int, last: int, slot: int, state: Any) -> Any:
    """Count, sum and frauds of whole days first..last."""
    count, total, frauds = 0, 0, 0
    for d in range(first, last + 1):
        if _holds(d, state.day[slot], DAY_TILES):
            count += state.day_count[slot, d % DAY_TILES]
            total += state.day_sum[slot, d % DAY_TILES]
            frauds += state.day_fraud[slot, d % DAY_TILES]
    return count, total, frauds


@njit(cache=True, nogil=True)
def _recent_cards(t: int, slot: int, state: Any, window_s: int) -> int:
    seconds = t // 1000
    distinct = 0
    for a in range(RECENT_CARDS):
        age = seconds - np.int64(state.card_s[slot, a])
        if state.card_s[slot, a] == 0 or age < 0 or age >= window_s:
            continue
        fresh = True
        for b in range(a):
            other = seconds - np.int64(state.card_s[slot, b])
            if state.card_hash[slot, b] == state.card_hash[slot, a] and other >= 0 and other < window_s:
                fresh = False
                break
        if fresh:
            distinct += 1
    return distinct


@njit(cache=True, nogil=True)
def _merchant_row(t: int, slot: int, state: Any, row: Any) -> None:
    day = t // DAY_MS
    in_hour, in_day = _counted(t, slot, state)
    row[_M1H] = in_hour
    row[_M1H + 1] = in_day
    row[_M1H + 2] = _days(day - 6, day, slot, state)[0]
    count, total, _ = _days(day - 29, day, slot, state)
    row[_M1H + 3] = count
    if count > 0:
        row[_M_MEAN] = total / count
        row[_M_RATIO] = row[_AMOUNT] / max(total / count, 1.0)
    row[_M_CARDS] = _recent_cards(t, slot, state, 3600)
    matured = day - DELAY_DAYS - 1
    column = _M_DELAYED
    for days in (1, 7, 30):
        count, _, frauds = _days(matured - days + 1, matured, slot, state)
        row[column] = count
        row[column + 1] = frauds / count if count > 0 else 0.0
        column += 2


@njit(cache=True, nogil=True)
def _shared_row(t: int, slot: int, state: Any, row: Any, column: int) -> None:
    day = t // DAY_MS
    in_hour, in_day = _counted(t, slot, state)
    row[column] = in_hour
    row[column + 1] = in_day
    row[column + 2] = _recent_cards(t, slot, state, 86_400)
    matured = day - DELAY_DAYS - 1
    count, _, frauds = _days(matured - 29, matured, slot, state)
    row[column + 3] = frauds / count if count > 0 else 0.0


@njit(cache=True, nogil=True)
def apply_items(
    slots: Any,
    offsets: Any,
    is_label: Any,
    event_ms: Any,
    amounts: Any,
    card_hashes: Any,
    frauds: Any,
    state: Any,
) -> None:
    """Apply items of `entities` in order: transactions count, labels add to (or take from) the day of their event."""
    for i in range(slots.shape[0]):
        slot, t = slots[i], event_ms[i]
        day = t // DAY_MS
        _advance_days(day, slot, state)
        if offsets[i] >= 0:
            state.offset[slot] = offsets[i]
        in_range = _holds(day, state.day[slot], DAY_TILES)
        if is_label[i]:
            if in_range:
                value = np.int64(state.day_fraud[slot, day % DAY_TILES]) + frauds[i]
                state.day_fraud[slot, day % DAY_TILES] = min(max(value, 0), 65535)
            continue
        if in_range:
            state.day_count[slot, day % DAY_TILES] += 1
            state.day_sum[slot, day % DAY_TILES] += amounts[i]
        _count_short(t, slot, state)
        if state.first_ms[slot] == 0 or t < state.first_ms[slot]:
            state.first_ms[slot] = t
        if t > state.last_ms[slot]:
            state.last_ms[slot] = t
        head = state.card_head[slot] % RECENT_CARDS
        state.card_hash[slot, head] = card_hashes[i]
        state.card_s[slot, head] = t // 1000
        state.card_head[slot] = (head + 1) % RECENT_CARDS


@njit(cache=True, nogil=True)
def _advance_days(day: int, slot: int, state: Any) -> None:
    newest: Any = np.int64(state.day[slot])
    if day <= newest:
        return
    for d in range(max(newest + 1, day - DAY_TILES + 1), day + 1):
        state.day_count[slot, d % DAY_TILES] = 0
        state.day_sum[slot, d % DAY_TILES] = 0
        state.day_fraud[slot, d % DAY_TILES] = 0
    state.day[slot] = day


@njit(cache=True, nogil=True)
def _count_short(t: int, slot: int, state: Any) -> None:
    hour, five = t // HOUR_MS, t // FIVE_MS
    newest: Any = np.int64(state.hour[slot])
    if hour > newest:
        for tile in range(max(newest + 1, hour - HOUR_TILES + 1), hour + 1):
            state.hour_count[slot, tile % HOUR_TILES] = 0
        state.hour[slot] = hour
    if _holds(hour, state.hour[slot], HOUR_TILES):
        state.hour_count[slot, hour % HOUR_TILES] += 1
    newest = np.int64(state.five[slot])
    if five > newest:
        for tile in range(max(newest + 1, five - FIVE_TILES + 1), five + 1):
            state.five_count[slot, tile % FIVE_TILES] = 0
        state.five[slot] = five
    if _holds(five, state.five[slot], FIVE_TILES):
        state.five_count[slot, five % FIVE_TILES] += 1
