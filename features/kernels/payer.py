"""Features of a transaction and of its payers (card, customer), and the update of payers' profiles with it.

Pure: arrays in, arrays out; no clock, no store. Windows are (t - W, t] in event time and include the transaction itself;
features of the payer's history leave it out. The cost of a payment is bounded by the size of a profile, not by history.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from features.catalogue import FIRST_COLUMN, INDEX, WINDOWS
from features.kernels.geography import distance_km
from features.profile.records import CATEGORIES, CHANNELS, OLD, RECENT

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
WINDOWS_MS = np.array([seconds * 1000 for seconds in WINDOWS.values()], dtype=np.int64)
#: amounts up to this, in minor units, count as small: card testers try such amounts
SMALL_AMOUNT = 500
#: the time base of a profile is set so far before its first payment: payments up to 40 days late still fit
BASE_BEHIND_MS = 40 * DAY_MS
#: old payments further behind the newest one are in no window, except of a late payment
FORGET_MS = 31 * DAY_MS
U32 = 1 << 32
#: what a payment is to its card's profile: not in it; in it for certain; with the time and amount of an old payment whose id is not kept
NEW, DUPLICATE, POSSIBLE = 0, 1, 2
#: said by a caller who knows all identities: it came for the first time. What the profile would take for it is another payment
FIRST_TIME = 3
#: the span of a value that no payment of the last week has
_NO_SPAN = 3
#: whether a payment may already be in the profile, and whether it is added (see ``payer_features``)
READ, APPLY, CONSULT, BEFORE = 0, 1, 2, 3

CARD_COLUMNS, CUSTOMER_COLUMNS = FIRST_COLUMN["card"], FIRST_COLUMN["customer"]


def _of(name: str) -> int:
    return INDEX[f"card_{name}"] - CARD_COLUMNS


_COUNT, _SUM, _MEAN, _MAX, _STD = _of("count_1m"), _of("sum_1m"), _of("mean_1m"), _of("max_1m"), _of("std_1m")
_DISTINCT = np.array([_of("merchants_1h"), _of("countries_1h"), _of("devices_1h")])
_Z, _RATIO, _RATIO_MAX = _of("amount_zscore_30d"), _of("amount_ratio_mean_30d"), _of("amount_ratio_max_30d")
_SINCE, _SMALL = _of("seconds_since_last"), _of("small_run_1h")
_NEW_MERCHANT, _NEW_DEVICE, _NEW_COUNTRY = _of("new_merchant"), _of("new_device"), _of("new_country")
_SPEED, _HOME, _BORDER = _of("speed_kmh"), _of("home_distance_km"), _of("cross_border")
_HOUR_SHARE, _CHANNEL_SHARE, _MCC_SHARE, _AGE = (
    _of("hour_share"),
    _of("channel_share"),
    _of("mcc_share"),
    _of("age_days"),
)
_AMOUNT, _LOG, _ROUND = INDEX["amount"], INDEX["log_amount"], INDEX["round_amount"]
_HOUR, _WEEKDAY, _NIGHT, _WEEKEND = INDEX["hour"], INDEX["weekday"], INDEX["night"], INDEX["weekend"]
_CHANNEL, _MCC, _CURRENCY = INDEX["channel"], INDEX["mcc"], INDEX["currency_code"]


@njit(cache=True, nogil=True)
def transaction_features(payments: Any, seen: Any, out: Any) -> None:
    """Fill the features of the transaction itself; rows of DUPLICATEs are left as they are. ``out`` float32 (n, WIDTH)."""
    for i in range(payments.shape[0]):
        if seen[i] == DUPLICATE:
            continue
        tx = payments[i]
        row = out[i]
        amount, t = tx.amount, tx.event_ms
        hour = (t // HOUR_MS) % 24
        weekday = (t // DAY_MS + 3) % 7
        row[_AMOUNT] = amount
        row[_LOG] = math.log1p(amount)
        row[_ROUND] = 1.0 if amount % 1000 == 0 else 0.0
        row[_HOUR] = hour
        row[_WEEKDAY] = weekday
        row[_NIGHT] = 1.0 if hour <= 6 else 0.0
        row[_WEEKEND] = 1.0 if weekday >= 5 else 0.0
        row[_CHANNEL] = tx.channel
        row[_MCC] = tx.mcc
        row[_CURRENCY] = tx.currency


@njit(cache=True, nogil=True)
def payer_features(payments: Any, slots: Any, arena: Any, mode: int, first: int, out: Any, seen: Any) -> None:
    """Fill the payers' features of a batch, in order, and apply each payment to its payer's profile.

    A payment that is POSSIBLE is not applied, so that profiles depend on the log alone. Its row is computed as if it were another
    payment, with the old payment it resembles in its history. ``streams.processor.cards``, which knows the ids that were
    decided, tells which it is.

    Args:
        payments: ``features.kernels.columns.PAYMENT`` (n,).
        slots: int64 (n,), the payer's slot in ``arena``; -1 if there is no payer (the row is left as it is).
        arena: ``features.profile.records.PAYER`` records; changed if ``mode`` is APPLY.
        mode: with APPLY and READ, a payment that is already in the profile is a repetition (``seen``). With CONSULT it is the
            payment itself, applied before, and is left out of its own history. BEFORE: there is no payment, only its time
            (``features.kernels.columns.moments``): windows contain what came before, and entries that look at the payment stay NaN.
        first: CARD_COLUMNS or CUSTOMER_COLUMNS: the payer's first column.
        out: float32 (n, WIDTH), NaN-filled.
        seen: uint8 (n,); set to DUPLICATE if the payment was applied before (its row is left as it is), and to POSSIBLE if it may
            have been. Rows that are DUPLICATE on entry are skipped; those that are FIRST_TIME do not become DUPLICATE;
            those that are POSSIBLE were applied before and stay so.
    """
    values = np.empty((3, RECENT + 1), dtype=np.uint16)
    spans = np.empty(RECENT + 1, dtype=np.uint8)
    youngest = np.full(1 << 16, _NO_SPAN, dtype=np.uint8)
    totals = np.empty((5, 6), dtype=np.int64)
    squares = np.empty(6, dtype=np.float64)
    for i in range(slots.shape[0]):
        slot = slots[i]
        if slot < 0 or seen[i] == DUPLICATE:
            continue
        tx, p = payments[i], arena[slot]
        held = NEW
        if mode in (READ, APPLY):
            if seen[i] == POSSIBLE:
                held = POSSIBLE
            elif seen[i] == FIRST_TIME:
                # short hashes of two ids may be equal, and a log that was lost gives its offsets again
                held = NEW if _held(tx, p) == NEW else POSSIBLE
            else:
                held = DUPLICATE if tx.offset >= 0 and tx.offset <= p.offset else _held(tx, p)
            seen[i] = held
            if held == DUPLICATE:
                continue
        row = out[i, first:]
        _windows(tx, p, mode != BEFORE, row, totals, squares, values, spans, youngest)
        if mode != BEFORE:
            _tables(tx, p, row)
        _habits(tx, p, row)
        if mode == APPLY and held == NEW:
            _apply(tx, p)


@njit(cache=True, nogil=True)
def apply_payments(payments: Any, slots: Any, arena: Any) -> None:
    """Apply payments to their payers' profiles, in order, without computing features; DUPLICATE and POSSIBLE ones are dropped."""
    for i in range(slots.shape[0]):
        if slots[i] >= 0 and _held(payments[i], arena[slots[i]]) == NEW:
            _apply(payments[i], arena[slots[i]])


@njit(cache=True, nogil=True)
def _held(tx: Any, p: Any) -> int:
    """DUPLICATE if the profile holds this payment (same id, time and amount), POSSIBLE if it holds an old one with the same
    time and amount, else NEW."""
    relative = tx.event_ms - p.base_ms
    # a payment newer than all others cannot be in the profile, which saves the search for those in order
    if p.n == 0 or tx.event_ms > p.last_ms or relative < 0 or relative >= U32:
        return NEW
    low, high = tx.amount & 0xFFFFFFFF, tx.amount >> 32
    own = tx.id_hash & 0xFFFF
    for j in range(p.n):
        same = p.recent[j].t == relative and p.recent[j].id == own
        if same and p.recent[j].amount == low and p.recent[j].amount_high == high:
            return DUPLICATE
    for k in range(np.int64(p.old_n) - 1, -1, -1):
        j = _place(k, p)
        if p.old_t[j] < relative:
            return NEW
        if (
            p.old_t[j] == relative
            and p.old_amount[j] == low
            and p.old_high[j] == high
            and p.old_count[j] == 1
        ):
            return POSSIBLE
    return NEW


@njit(cache=True, nogil=True)
def _place(k: int, p: Any) -> Any:
    """The place of the k-th oldest old payment in the ring."""
    j = np.int64(p.old_first) + k
    return j - OLD if j >= OLD else j


@njit(cache=True, nogil=True)
def _window_of(age: int) -> int:
    """The shortest window that contains a payment of this age; 6 if none does."""
    if age < WINDOWS_MS[3]:
        if age < WINDOWS_MS[1]:
            return 0 if age < WINDOWS_MS[0] else 1
        return 2 if age < WINDOWS_MS[2] else 3
    if age < WINDOWS_MS[4]:
        return 4
    return 5 if age < WINDOWS_MS[5] else 6


@njit(cache=True, nogil=True)
def _windows(
    tx: Any, p: Any, own: bool, row: Any, totals: Any, squares: Any, values: Any, spans: Any, youngest: Any
) -> None:
    """Statistics of the windows, with the payment itself if there is one (``own``). ``totals`` (5, 6) and ``squares`` (6,) hold, for the payments in a window and no shorter one:
    count, sum, maximum, sum of differences from a pivot, the pivot (one of the amounts), and the sum of squared differences.
    For ``values`` (3, RECENT + 1), ``spans`` (RECENT + 1,) and ``youngest`` see ``_distinct``.
    """
    t, amount = tx.event_ms, tx.amount
    totals[:] = 0
    squares[:] = 0.0
    last_age: Any = np.int64(-1)
    if p.last_ms > 0 and t >= p.last_ms:
        # the header keeps the time of the newest payment longer than the rings do
        last_age = t - p.last_ms
    own_id, own_merchant = tx.id_hash & 0xFFFF, tx.merchant_hash & 0xFFFF
    base = p.base_ms
    known_merchant = False
    small = 1 if own and amount <= SMALL_AMOUNT else 0
    week = 0
    for j in range(p.n):
        age = t - (base + np.int64(p.recent[j].t))
        if age < 0:
            continue
        value = np.int64(p.recent[j].amount) + (np.int64(p.recent[j].amount_high) << 32)
        merchant = np.int64(p.recent[j].merchant)
        if own and age == 0 and value == amount and p.recent[j].id == own_id:
            continue
        if last_age < 0 or age < last_age:
            last_age = age
        if merchant == own_merchant:
            known_merchant = True
        w = _window_of(age)
        if w > 5:
            continue
        # written out: a call would cost more than the sums
        if totals[0, w] == 0:
            totals[4, w] = value
        apart = value - totals[4, w]
        totals[0, w] += 1
        totals[1, w] += value
        totals[2, w] = max(totals[2, w], value)
        totals[3, w] += apart
        squares[w] += float(apart) * float(apart)
        if w <= 2 and value <= SMALL_AMOUNT:
            small += 1
        if w <= 4:
            spans[week] = 0 if w <= 2 else w - 2
            values[0, week] = merchant
            values[1, week] = p.recent[j].country
            values[2, week] = p.recent[j].device
            week += 1
    last_age = _old_windows(t, last_age, p, totals, squares)
    row[_SMALL] = small
    if last_age >= 0:
        row[_SINCE] = last_age / 1000.0
    if own:
        row[_NEW_MERCHANT] = 0.0 if known_merchant else 1.0
    _write_windows(row, totals, squares, amount, own)
    spans[week] = 0
    values[0, week] = own_merchant
    values[1, week] = tx.country % 255 + 1 if tx.country != 0 else 0
    values[2, week] = tx.device_hash % 255 + 1 if tx.device_hash != 0 else 0
    for kind in range(3):
        _distinct(values[kind], spans, week + own, kind > 0, youngest, row[_DISTINCT[kind] :])


@njit(cache=True, nogil=True)
def _old_windows(t: int, last_age: int, p: Any, totals: Any, squares: Any) -> Any:
    """Add the old payments, newest first; returns the age of the previous payment, which may be one of them."""
    base = t - p.base_ms
    w: Any = -1
    limit: Any = np.int64(-1)
    count: Any = 0
    total: Any = 0
    biggest: Any = 0
    pivot: Any = 0
    squared = 0.0
    for k in range(np.int64(p.old_n) - 1, -1, -1):
        j = _place(k, p)
        age = base - np.int64(p.old_t[j])
        if age < 0:
            continue
        if last_age < 0 or age < last_age:
            last_age = age
        together = np.int64(p.old_count[j])
        value = np.int64(p.old_amount[j]) + (np.int64(p.old_high[j]) << 32)
        if age >= limit:
            # ages only grow: add the sums of this window and continue with the window of this age
            if w >= 0:
                _add(totals, squares, w, count, total, biggest, total - count * pivot, squared)
            count, total, biggest, squared = 0, 0, 0, 0.0
            w = _window_of(age)
            if w > 5:
                return last_age
            limit = WINDOWS_MS[w]
            if totals[0, w] == 0:
                totals[4, w] = value // together
            pivot = totals[4, w]
        count += together
        total += value
        if together == 1:
            apart = float(value - pivot)
            squared += apart * apart
            biggest = max(biggest, value)
        else:
            mean = value / together
            squared += together * ((mean - pivot) * (mean - pivot))
            biggest = max(biggest, int(mean))
    if w >= 0:
        _add(totals, squares, w, count, total, biggest, total - count * pivot, squared)
    return last_age


@njit(cache=True, nogil=True)
def _add(
    totals: Any, squares: Any, w: int, count: int, total: int, biggest: int, shifted: int, squared: float
) -> None:
    totals[0, w] += count
    totals[1, w] += total
    totals[2, w] = max(totals[2, w], biggest)
    totals[3, w] += shifted
    squares[w] += squared


@njit(cache=True, nogil=True)
def _distinct(values: Any, spans: Any, n: int, sparse: bool, youngest: Any, row: Any) -> None:
    """Number of distinct values in the last hour, day and week; a value counts from the span of its youngest payment.

    Args:
        values: uint16, of n payments; with ``sparse``, 0 means none.
        spans: uint8, the span of each payment: 0 hour, 1 day, 2 week.
        youngest: uint8, the span of each value's youngest payment; _NO_SPAN everywhere before and after the call.
    """
    # two passes without branches: the CPU could not predict whether a value was there before
    for a in range(n):
        youngest[values[a]] = min(youngest[values[a]], spans[a])
    if sparse:
        youngest[0] = _NO_SPAN
    in_hour, in_day, in_week = 0, 0, 0
    for a in range(n):
        span = youngest[values[a]]
        in_hour += span < 1
        in_day += span < 2
        in_week += span < _NO_SPAN
        youngest[values[a]] = _NO_SPAN
    row[0], row[1], row[2] = in_hour, in_day, in_week


@njit(cache=True, nogil=True)
def _write_windows(row: Any, totals: Any, squares: Any, amount: int, own: bool) -> None:
    """Turn the statistics of payments in a window and no shorter one into those of whole windows; then compare the amount with 30 days.

    Without a payment (not ``own``) ``amount`` is 0, and an empty window has neither mean nor maximum.
    """
    count, total, biggest = 0, 0, 0
    # mean and sum of squared differences from it, merged window by window without cancellation (Chan et al. 1979)
    mean, apart = 0.0, 0.0
    for w in range(6):
        inside = totals[0, w]
        if inside == 0 and w > 0:
            # equal to the shorter window
            for k in (_COUNT, _SUM, _MEAN, _MAX, _STD):
                row[k + w] = row[k + w - 1]
            continue
        if inside > 0:
            shift = totals[3, w] / inside
            here = totals[4, w] + shift
            apart += max(squares[w] - inside * shift * shift, 0.0)
            apart += (here - mean) * (here - mean) * (count * inside / (count + inside))
            count += inside
            total += totals[1, w]
            mean += (here - mean) * inside / count
            biggest = max(biggest, totals[2, w])
        payments = count + own
        row[_COUNT + w] = payments
        row[_SUM + w] = total + amount
        if payments == 0:
            continue
        row[_MEAN + w] = (total + amount) / payments
        row[_MAX + w] = max(biggest, amount)
        beside = (amount - mean) * (amount - mean) * (count / (count + 1)) if own else 0.0
        row[_STD + w] = math.sqrt((apart + beside) / payments)
    if own and count >= 1:
        mean = total / count
        row[_RATIO] = amount / max(mean, 1.0)
        row[_RATIO_MAX] = amount / max(biggest, 1)
        if count >= 3:
            row[_Z] = (amount - mean) / max(math.sqrt(apart / count), 1.0)


@njit(cache=True, nogil=True)
def _known(table: Any, t: int, value: int) -> bool:
    """Whether a table of first times has a value that was first seen at or before ``t``."""
    for j in range(table.shape[0]):
        if table[j] != 0 and table[j] & 0xFFFF == value and table[j] >> 16 <= t:
            return True
    return False


@njit(cache=True, nogil=True)
def _tables(tx: Any, p: Any, row: Any) -> None:
    """Whether this is the first payment at this merchant, from this device, in this country."""
    t = tx.event_ms
    if _known(p.merchants, t, tx.merchant_hash & 0xFFFF):
        row[_NEW_MERCHANT] = 0.0
    if tx.device_hash != 0:
        row[_NEW_DEVICE] = 0.0 if _known(p.devices, t, tx.device_hash & 0xFFFF) else 1.0
    if tx.country != 0:
        row[_NEW_COUNTRY] = 0.0 if _known(p.countries, t, np.int64(tx.country)) else 1.0


@njit(cache=True, nogil=True)
def _habits(tx: Any, p: Any, row: Any) -> None:
    """Features of the profile's header: age, place, home, usual country, hours, channels and categories."""
    t = tx.event_ms
    known = p.first_ms != 0
    row[_AGE] = max(0, t - p.first_ms) / DAY_MS if known else 0.0
    if t < p.last_ms:
        # the header already includes a later payment, so what it was before this one is unknown
        return
    lat, lon = tx.latitude, tx.longitude
    if not math.isnan(lat) and not math.isnan(lon) and p.places > 0:
        away = distance_km(p.place_lat, p.place_lon, lat, lon)
        row[_SPEED] = away / (max(t - p.place_ms, 1000) / HOUR_MS)
        row[_HOME] = distance_km(p.home_lat, p.home_lon, lat, lon)
    if tx.country != 0 and p.home_votes > 0:
        row[_BORDER] = 0.0 if tx.country == p.home_country else 1.0
    total = 0
    for j in range(24):
        total += p.hours[j]
    if total < 5:
        return
    row[_HOUR_SHARE] = p.hours[(t // HOUR_MS) % 24] / total
    if not math.isnan(tx.channel):
        row[_CHANNEL_SHARE] = p.channels[int(tx.channel)] / total
    if not math.isnan(tx.mcc):
        row[_MCC_SHARE] = 0.0
        for j in range(CATEGORIES):
            if p.category_count[j] > 0 and p.category[j] == int(tx.mcc):
                row[_MCC_SHARE] = p.category_count[j] / total


@njit(cache=True, nogil=True)
def _apply(tx: Any, p: Any) -> None:
    """Add a payment to the profile."""
    t = tx.event_ms
    if p.first_ms == 0:
        p.base_ms = t - BASE_BEHIND_MS
    _insert(tx, t, p)
    if tx.offset >= 0:
        p.offset = tx.offset
    _remember(p.merchants, t, tx.merchant_hash & 0xFFFF)
    if tx.device_hash != 0:
        _remember(p.devices, t, tx.device_hash & 0xFFFF)
    if tx.country != 0:
        _remember(p.countries, t, np.int64(tx.country))
    _count_habits(tx, t, p)
    if t >= p.last_ms:
        _move(tx, t, p)
        p.last_ms = t
    if p.first_ms == 0 or t < p.first_ms:
        p.first_ms = t


@njit(cache=True, nogil=True)
def _remember(table: Any, t: int, value: int) -> None:
    """Store the first time of a value; if the table is full, the value with the earliest first time is replaced."""
    packed = (t << 16) | value
    oldest = 0
    for j in range(table.shape[0]):
        if table[j] == 0:
            table[j] = packed
            return
        if table[j] & 0xFFFF == value:
            table[j] = min(table[j], packed)
            return
        if table[j] < table[oldest]:
            oldest = j
    if table[oldest] < packed:
        table[oldest] = packed


@njit(cache=True, nogil=True)
def _count_habits(tx: Any, t: int, p: Any) -> None:
    hour = (t // HOUR_MS) % 24
    channel = -1 if math.isnan(tx.channel) else int(tx.channel)
    if p.hours[hour] == 65535 or (channel >= 0 and p.channels[channel] == 65535):
        _halve_habits(p)
    p.hours[hour] += 1
    if channel >= 0:
        p.channels[channel] += 1
    if math.isnan(tx.mcc):
        return
    # frequent items by Misra and Gries (1982)
    code = int(tx.mcc)
    free = -1
    for j in range(CATEGORIES):
        if p.category_count[j] == 0:
            free = j
        elif p.category[j] == code:
            if p.category_count[j] == 65535:
                _halve_habits(p)
            p.category_count[j] += 1
            return
    if free >= 0:
        p.category[free] = code
        p.category_count[free] = 1
        return
    for j in range(CATEGORIES):
        p.category_count[j] -= 1


@njit(cache=True, nogil=True)
def _halve_habits(p: Any) -> None:
    """Halve all counts together, which keeps their shares."""
    for j in range(24):
        p.hours[j] //= 2
    for j in range(CHANNELS):
        p.channels[j] //= 2
    for j in range(CATEGORIES):
        p.category_count[j] //= 2


@njit(cache=True, nogil=True)
def _move(tx: Any, t: int, p: Any) -> None:
    """Update last place, usual place and usual country with a payment that is not older than the newest."""
    lat, lon = tx.latitude, tx.longitude
    if not math.isnan(lat) and not math.isnan(lon):
        places = p.places
        # a running mean that forgets, so that the usual place follows a payer who moves
        weight = 1.0 / min(places + 1, 50)
        p.home_lat += (lat - p.home_lat) * weight
        p.home_lon += (lon - p.home_lon) * weight
        p.place_lat = lat
        p.place_lon = lon
        p.place_ms = t
        p.places = places + 1
    country = tx.country
    if country == 0:
        return
    # majority vote of Boyer and Moore (1981): finds the usual country with two fields
    if p.home_votes <= 0:
        p.home_country = country
        p.home_votes = 1
    elif p.home_country == country:
        p.home_votes = min(p.home_votes + 1, 100)
    else:
        p.home_votes -= 1


@njit(cache=True, nogil=True)
def _insert(tx: Any, t: int, p: Any) -> None:
    """Add a payment to the newest ones; if they are full, the oldest of them becomes an old payment."""
    relative = t - p.base_ms
    if relative >= U32:
        _rebase(t - BASE_BEHIND_MS, p)
        relative = t - p.base_ms
    if relative < 0:
        return
    now = max(p.last_ms - p.base_ms, relative)
    position: Any = np.int64(p.n)
    if position == RECENT:
        position = 0
        for j in range(1, RECENT):
            if p.recent[j].t < p.recent[position].t:
                position = j
        if np.int64(p.recent[position].t) > relative:
            _insert_old(now, relative, tx.amount & 0xFFFFFFFF, tx.amount >> 32, p)
            return
        _insert_old(
            now, np.int64(p.recent[position].t), np.int64(p.recent[position].amount),
            np.int64(p.recent[position].amount_high), p,
        )  # fmt: skip
    else:
        p.n = position + 1
    p.recent[position].t = relative
    p.recent[position].amount = tx.amount & 0xFFFFFFFF
    p.recent[position].amount_high = tx.amount >> 32
    p.recent[position].id = tx.id_hash & 0xFFFF
    p.recent[position].merchant = tx.merchant_hash & 0xFFFF
    country, device = tx.country, tx.device_hash
    p.recent[position].country = country % 255 + 1 if country else 0
    p.recent[position].device = device % 255 + 1 if device else 0


@njit(cache=True, nogil=True)
def _insert_old(now: int, relative: int, low: int, high: int, p: Any) -> None:
    """Add a payment to the old ones, a ring in order of time; if it is full, the oldest are dropped or two are merged.

    ``now`` and ``relative``: times of the newest payment and of this one, in ms since the time base.
    """
    if p.old_n == OLD:
        _make_room(now, p)
    k: Any = np.int64(p.old_n)
    while k > 0 and np.int64(p.old_t[_place(k - 1, p)]) > relative:
        _copy_old(_place(k - 1, p), _place(k, p), p)
        k -= 1
    j = _place(k, p)
    p.old_t[j] = relative
    p.old_amount[j] = low
    p.old_count[j] = 1
    p.old_high[j] = high
    p.old_n += 1


@njit(cache=True, nogil=True)
def _copy_old(source: int, target: int, p: Any) -> None:
    p.old_t[target] = p.old_t[source]
    p.old_amount[target] = p.old_amount[source]
    p.old_count[target] = p.old_count[source]
    p.old_high[target] = p.old_high[source]


@njit(cache=True, nogil=True)
def _make_room(now: int, p: Any) -> None:
    """Drop old payments that are in no window any more; if there are none, merge two neighbours into a group.

    The cheapest pair is merged: short in time for its age and with few payments. So groups grow in proportion to their age, and
    the far end of all windows is equally exact. A group keeps the time of its newest payment, its number of payments and
    their sum.
    """
    _forget_before(now - FORGET_MS + 1, p)
    if p.old_n < OLD:
        return
    best, least, best_total = 0, -1.0, np.int64(0)
    left = _place(0, p)
    begin = np.int64(p.old_t[left])
    for k in range(OLD - 1):
        right = _place(k + 1, p)
        left_t, right_t = np.int64(p.old_t[left]), np.int64(p.old_t[right])
        count = np.int64(p.old_count[left]) + np.int64(p.old_count[right])
        # a group starts some time after the payment before it
        span = right_t - (left_t if p.old_count[left] == 1 else begin) + 1
        age: Any = now - left_t if now > left_t else 1
        cost = float(span) * count / (float(age) * float(age))
        if least < 0.0 or cost < least:
            total = np.int64(p.old_amount[left]) + np.int64(p.old_amount[right])
            total += (np.int64(p.old_high[left]) + np.int64(p.old_high[right])) << 32
            if count <= 65535 and total < 1 << 40:
                best, least, best_total = k, cost, total
        left, begin = right, left_t
    if least >= 0.0:
        left, right = _place(best, p), _place(best + 1, p)
        p.old_amount[right] = best_total & 0xFFFFFFFF
        p.old_high[right] = best_total >> 32
        p.old_count[right] = p.old_count[left] + p.old_count[right]
    # if nothing can be merged, the oldest is dropped
    for k in range(best, 0, -1):
        _copy_old(_place(k - 1, p), _place(k, p), p)
    p.old_first = _place(1, p)
    p.old_n -= 1


@njit(cache=True, nogil=True)
def _forget_before(horizon: int, p: Any) -> None:
    while p.old_n > 0 and np.int64(p.old_t[p.old_first]) < horizon:
        p.old_first = _place(1, p)
        p.old_n -= 1


@njit(cache=True, nogil=True)
def _rebase(base: int, p: Any) -> None:
    """Move the time base forward; payments before it are outside every window and are dropped."""
    shift = base - p.base_ms
    kept = 0
    for j in range(p.n):
        if np.int64(p.recent[j].t) < shift:
            continue
        p.recent[kept].t = np.int64(p.recent[j].t) - shift
        p.recent[kept].amount = p.recent[j].amount
        p.recent[kept].amount_high = p.recent[j].amount_high
        p.recent[kept].id = p.recent[j].id
        p.recent[kept].merchant = p.recent[j].merchant
        p.recent[kept].country = p.recent[j].country
        p.recent[kept].device = p.recent[j].device
        kept += 1
    p.n = kept
    _forget_before(shift, p)
    for k in range(p.old_n):
        p.old_t[_place(k, p)] -= shift
    p.base_ms = base
