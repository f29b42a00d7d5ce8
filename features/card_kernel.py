"""Card features: one pass over the card's ring per event, then the event is written into the profile.

Pure: arrays in, arrays out; no clock, no store. Windows are (t - W, t] in event time and include the transaction
itself; "own history" features leave it out. Cost per event is bounded by the ring, never by history.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from features.catalogue import INDEX
from features.geography import distance_km
from features.profiles import DEVICES, RING

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
WINDOWS_MS = np.array([10 * MINUTE_MS, HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS], dtype=np.int64)
#: at or below, in minor units: what card testers try
SMALL_AMOUNT = 500
#: how far behind the newest event a first event sets the ring's time base: late events of 40 days still fit
BASE_BEHIND_MS = 40 * DAY_MS
U32 = 1 << 32
NEW, DUPLICATE = 0, 1

_AMOUNT = INDEX["amount"]
_COUNT = INDEX["card_count_10m"]
_SUM = INDEX["card_sum_10m"]
_MEAN = INDEX["card_mean_24h"]
_MAX = INDEX["card_max_30d"]
_Z = INDEX["card_amount_zscore_30d"]
_RATIO = INDEX["card_amount_ratio_mean_30d"]
_SINCE = INDEX["card_seconds_since_last"]
_MERCHANTS_1H = INDEX["card_merchants_1h"]
_MERCHANTS_24H = INDEX["card_merchants_24h"]
_COUNTRIES = INDEX["card_countries_24h"]
_SPEED = INDEX["card_speed_kmh"]
_HOME = INDEX["card_home_distance_km"]
_NEW_MERCHANT = INDEX["card_new_merchant"]
_NEW_DEVICE = INDEX["card_new_device"]
_BORDER = INDEX["card_cross_border"]
_SMALL = INDEX["card_small_run_1h"]
_HOUR_SHARE = INDEX["card_hour_share"]
_AGE = INDEX["card_age_days"]
_HOUR, _WEEKDAY, _NIGHT, _WEEKEND = INDEX["hour"], INDEX["weekday"], INDEX["night"], INDEX["weekend"]
_LOG, _ROUND, _CHANNEL, _MCC = INDEX["log_amount"], INDEX["round_amount"], INDEX["channel"], INDEX["mcc"]


@njit(cache=True, nogil=True)
def card_features(columns: Any, slots: Any, state: Any, apply: bool, out: Any, seen: Any) -> None:
    """Fill the transaction's and the card's features of a batch, in order, and apply each event to its profile.

    Args:
        columns: ``features.columns.Columns`` of n events.
        slots: int64 (n,), the card's slot in ``state``.
        state: ``features.profiles.CardState``; changed when ``apply``.
        out: float32 (n, WIDTH), NaN-filled; only the transaction's and the card's columns are written.
        seen: uint8 (n,), set to DUPLICATE where the event was applied before (its row stays NaN).
    """
    merchants = np.empty(RING + 1, dtype=np.uint16)
    countries = np.empty(RING + 1, dtype=np.uint8)
    for i in range(slots.shape[0]):
        slot = slots[i]
        t = columns.event_ms[i]
        if columns.offset[i] >= 0 and columns.offset[i] <= state.offset[slot]:
            seen[i] = DUPLICATE
            continue
        if not _window_row(columns, i, slot, t, state, out[i], merchants, countries):
            seen[i] = DUPLICATE
            continue
        _transaction_row(columns, i, out[i])
        _header_row(columns, i, slot, t, state, out[i])
        if apply:
            _apply(columns, i, slot, t, state)


@njit(cache=True, nogil=True)
def _transaction_row(columns: Any, i: int, row: Any) -> None:
    amount = columns.amount[i]
    t = columns.event_ms[i]
    day = t // DAY_MS
    hour = (t // HOUR_MS) % 24
    weekday = (day + 3) % 7
    row[_AMOUNT] = amount
    row[_LOG] = math.log1p(amount)
    row[_ROUND] = 1.0 if amount % 1000 == 0 else 0.0
    row[_HOUR] = hour
    row[_WEEKDAY] = weekday
    row[_NIGHT] = 1.0 if hour <= 6 else 0.0
    row[_WEEKEND] = 1.0 if weekday >= 5 else 0.0
    row[_CHANNEL] = columns.channel[i]
    row[_MCC] = columns.mcc[i]


@njit(cache=True, nogil=True)
def _window_row(
    columns: Any, i: int, slot: int, t: int, state: Any, row: Any, merchants: Any, countries: Any
) -> bool:
    """Windows over the ring; False when the ring holds this very transaction."""
    amount = columns.amount[i]
    counts = np.ones(5, dtype=np.int64)
    sums = np.full(5, amount, dtype=np.int64)
    biggest, small = amount, 0
    if amount <= SMALL_AMOUNT:
        small = 1
    prior_n, prior_sum, prior_squares = 0, 0.0, 0.0
    last_age = -1
    if state.last_ms[slot] > 0 and t >= state.last_ms[slot]:
        # the header remembers the newest event for longer than the ring does
        last_age = t - state.last_ms[slot]
    known_merchant = False
    in_hour, in_day = 0, 0
    base = state.base_ms[slot]
    own_merchant = np.uint16(columns.merchant_hash[i] & 0xFFFF)
    for j in range(state.n[slot]):
        age = t - (base + np.int64(state.ring_t[slot, j]))
        value = np.int64(state.ring_amount[slot, j]) + (np.int64(state.ring_amount_high[slot, j]) << 32)
        if age == 0 and value == amount and state.ring_id[slot, j] == columns.id_hash[i]:
            return False
        if age < 0:
            continue
        merchant = state.ring_merchant[slot, j]
        if merchant == own_merchant and age < WINDOWS_MS[4]:
            known_merchant = True
        if last_age < 0 or age < last_age:
            last_age = age
        for w in range(5):
            if age < WINDOWS_MS[w]:
                counts[w] += 1
                sums[w] += value
        if age < WINDOWS_MS[4]:
            prior_n += 1
            prior_sum += value
            prior_squares += float(value) * float(value)
            biggest = max(biggest, value)
        if age < HOUR_MS and value <= SMALL_AMOUNT:
            small += 1
        if age < DAY_MS:
            # the last hour's merchants stand in front, so that one array serves both windows
            merchants[in_day] = merchant
            countries[in_day] = state.ring_country[slot, j]
            if age < HOUR_MS:
                merchants[in_day] = merchants[in_hour]
                merchants[in_hour] = merchant
                in_hour += 1
            in_day += 1
    for w in range(5):
        row[_COUNT + w] = counts[w]
        row[_SUM + w] = sums[w]
    for w in range(3):
        row[_MEAN + w] = sums[w + 2] / counts[w + 2]
    row[_MAX] = biggest
    row[_SMALL] = small
    row[_NEW_MERCHANT] = 0.0 if known_merchant else 1.0
    if last_age >= 0:
        row[_SINCE] = last_age / 1000.0
    if prior_n >= 1:
        mean = prior_sum / prior_n
        row[_RATIO] = amount / max(mean, 1.0)
        if prior_n >= 3:
            variance = max(prior_squares / prior_n - mean * mean, 0.0)
            row[_Z] = (amount - mean) / max(math.sqrt(variance), 1.0)
    row[_MERCHANTS_1H] = _distinct_with(merchants, in_hour, own_merchant)
    row[_MERCHANTS_24H] = _distinct_with(merchants, in_day, own_merchant)
    row[_COUNTRIES] = _distinct_with(
        countries, in_day, np.uint8(columns.country[i] % 255 + 1 if columns.country[i] else 0)
    )
    return True


@njit(cache=True, nogil=True)
def _distinct_with(values: Any, n: int, own: Any) -> int:
    """Distinct values of ``values[:n]`` and ``own``."""
    distinct = 1
    for a in range(n):
        if values[a] == own:
            continue
        fresh = True
        for b in range(a):
            if values[b] == values[a]:
                fresh = False
                break
        if fresh:
            distinct += 1
    return distinct


@njit(cache=True, nogil=True)
def _header_row(columns: Any, i: int, slot: int, t: int, state: Any, row: Any) -> None:
    """Features of the profile's header: place, home, devices, habits, age."""
    lat, lon = columns.latitude[i], columns.longitude[i]
    if not math.isnan(lat) and not math.isnan(lon) and state.places[slot] > 0:
        away = distance_km(state.place_lat[slot], state.place_lon[slot], lat, lon)
        hours = max(abs(t - state.place_ms[slot]), 1000) / HOUR_MS
        row[_SPEED] = away / hours
        row[_HOME] = distance_km(state.home_lat[slot], state.home_lon[slot], lat, lon)
    device = columns.device_hash[i]
    if device != 0:
        fresh = True
        for j in range(DEVICES):
            if state.devices[slot, j] == device:
                fresh = False
        row[_NEW_DEVICE] = 1.0 if fresh else 0.0
    country = columns.country[i]
    if country != 0 and state.home_votes[slot] > 0:
        row[_BORDER] = 0.0 if country == state.home_country[slot] else 1.0
    total = 0
    for j in range(24):
        total += state.hours[slot, j]
    if total >= 5:
        row[_HOUR_SHARE] = state.hours[slot, (t // HOUR_MS) % 24] / total
    if state.n[slot] > 0:
        row[_AGE] = max(0, t - state.first_ms[slot]) / DAY_MS
    else:
        row[_AGE] = 0.0


@njit(cache=True, nogil=True)
def _apply(columns: Any, i: int, slot: int, t: int, state: Any) -> None:
    """Write one event into the profile: ring, then header."""
    _insert(columns, i, slot, t, state)
    if columns.offset[i] >= 0:
        state.offset[slot] = columns.offset[i]
    if state.first_ms[slot] == 0 or t < state.first_ms[slot]:
        state.first_ms[slot] = t
    if t > state.last_ms[slot]:
        state.last_ms[slot] = t
    lat, lon = columns.latitude[i], columns.longitude[i]
    if not math.isnan(lat) and not math.isnan(lon):
        places = state.places[slot]
        # a running mean that forgets: the usual place follows a card that moves house
        weight = 1.0 / min(places + 1, 50)
        state.home_lat[slot] += (lat - state.home_lat[slot]) * weight
        state.home_lon[slot] += (lon - state.home_lon[slot]) * weight
        if t >= state.place_ms[slot]:
            state.place_lat[slot] = lat
            state.place_lon[slot] = lon
            state.place_ms[slot] = t
        state.places[slot] = places + 1
    device = columns.device_hash[i]
    if device != 0:
        known = False
        for j in range(DEVICES):
            if state.devices[slot, j] == device:
                known = True
        if not known:
            state.devices[slot, state.device_head[slot] % DEVICES] = device
            state.device_head[slot] = (state.device_head[slot] + 1) % DEVICES
    country = columns.country[i]
    if country != 0:
        # majority vote of Boyer and Moore (1981): two fields find the usual country
        if state.home_votes[slot] <= 0:
            state.home_country[slot] = country
            state.home_votes[slot] = 1
        elif state.home_country[slot] == country:
            state.home_votes[slot] = min(state.home_votes[slot] + 1, 100)
        else:
            state.home_votes[slot] -= 1
    hour = (t // HOUR_MS) % 24
    if state.hours[slot, hour] == 65535:
        for j in range(24):
            state.hours[slot, j] //= 2
    state.hours[slot, hour] += 1


@njit(cache=True, nogil=True)
def _insert(columns: Any, i: int, slot: int, t: int, state: Any) -> None:
    n: Any = state.n[slot]
    if n == 0:
        state.base_ms[slot] = t - BASE_BEHIND_MS
    relative = t - state.base_ms[slot]
    if relative < 0:
        return
    if relative >= U32:
        _rebase(slot, t - BASE_BEHIND_MS, state)
        n = state.n[slot]
        relative = t - state.base_ms[slot]
    position: Any = np.int64(n)
    if n == RING:
        position = 0
        for j in range(1, RING):
            if state.ring_t[slot, j] < state.ring_t[slot, position]:
                position = j
        if np.int64(state.ring_t[slot, position]) > relative:
            return
    else:
        state.n[slot] = n + 1
    state.ring_t[slot, position] = relative
    state.ring_amount[slot, position] = columns.amount[i] & 0xFFFFFFFF
    state.ring_amount_high[slot, position] = columns.amount[i] >> 32
    state.ring_id[slot, position] = columns.id_hash[i]
    state.ring_merchant[slot, position] = columns.merchant_hash[i] & 0xFFFF
    country = columns.country[i]
    state.ring_country[slot, position] = country % 255 + 1 if country else 0


@njit(cache=True, nogil=True)
def _rebase(slot: int, base: int, state: Any) -> None:
    """Move the ring's time base forward; events before it are outside every window and go."""
    kept = 0
    shift = base - state.base_ms[slot]
    for j in range(state.n[slot]):
        moved = np.int64(state.ring_t[slot, j]) - shift
        if moved < 0:
            continue
        state.ring_t[slot, kept] = moved
        state.ring_amount[slot, kept] = state.ring_amount[slot, j]
        state.ring_amount_high[slot, kept] = state.ring_amount_high[slot, j]
        state.ring_id[slot, kept] = state.ring_id[slot, j]
        state.ring_merchant[slot, kept] = state.ring_merchant[slot, j]
        state.ring_country[slot, kept] = state.ring_country[slot, j]
        kept += 1
    state.n[slot] = kept
    state.base_ms[slot] = base
