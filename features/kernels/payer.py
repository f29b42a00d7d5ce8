"""Features of the transaction and of its payers (card, customer): one pass over what is kept of their payments, then the
payment is written into the profile.

Pure: arrays in, arrays out; no clock, no store. Windows are (t - W, t] in event time and include the transaction itself;
"own history" features leave it out. Cost per event is bounded by what is kept, never by history.
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
#: at or below, in minor units: what card testers try
SMALL_AMOUNT = 500
#: how far behind the newest payment a first one sets the time base: late payments of 40 days still fit
BASE_BEHIND_MS = 40 * DAY_MS
#: old payments further behind the newest than this are in no window of a payment that is not late
FORGET_MS = 31 * DAY_MS
U32 = 1 << 32
#: what a payment is to its card: not held; held for certain; like an old one, of which no id is kept, in time and amount
NEW, DUPLICATE, POSSIBLE = 0, 1, 2
#: of a value that no payment of the last week has
_NO_SPAN = 3
#: what to do with a payment that the profile holds already, and with the profile
READ, APPLY, CONSULT = 0, 1, 2

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
    """Fill what the transactions themselves say; rows of DUPLICATEs stay as they are. ``out`` float32 (n, WIDTH)."""
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

    A POSSIBLE repetition is not applied, so that profiles stay a function of the log alone. Its row is what it is made of if it
    is another payment after all: of the state as it is, with the one that it is like among what came before it. Who knows
    which ids were decided (``streams.processor.cards``) says which of the two it was.

    Args:
        payments: ``features.kernels.columns.PAYMENT`` (n,).
        slots: int64 (n,), the payer's slot in ``arena``; -1 where there is none (the row stays).
        arena: ``features.profile.records.PAYER`` records; changed when ``mode`` is APPLY.
        mode: APPLY and READ take a payment that the profile holds for a repetition (``seen``), CONSULT takes it for the
            payment itself, applied before, and looks past it.
        first: CARD_COLUMNS or CUSTOMER_COLUMNS: where in a row the payer's entries begin.
        out: float32 (n, WIDTH), NaN-filled.
        seen: uint8 (n,), set to DUPLICATE where the payment was applied before (the row stays; where it is so from the start it
            is passed over), to POSSIBLE where it may have been.
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
        if mode != CONSULT:
            held = DUPLICATE if tx.offset >= 0 and tx.offset <= p.offset else _held(tx, p)
            seen[i] = held
            if held == DUPLICATE:
                continue
        row = out[i, first:]
        _windows(tx, p, row, totals, squares, values, spans, youngest)
        _tables(tx, p, row)
        _habits(tx, p, row)
        if mode == APPLY and held == NEW:
            _apply(tx, p)


@njit(cache=True, nogil=True)
def apply_payments(payments: Any, slots: Any, arena: Any) -> None:
    """Write payments into their payers' profiles, in order, without features; repetitions, POSSIBLE ones too, are dropped."""
    for i in range(slots.shape[0]):
        if slots[i] >= 0 and _held(payments[i], arena[slots[i]]) == NEW:
            _apply(payments[i], arena[slots[i]])


@njit(cache=True, nogil=True)
def _held(tx: Any, p: Any) -> int:
    """DUPLICATE where the profile holds this very payment (same id, time and amount), POSSIBLE where an old one is like it (same
    time and amount), else NEW."""
    relative = tx.event_ms - p.base_ms
    # nothing that is held is newer than the newest: who comes in order need not be looked for
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
    """Where the k-th oldest of the old payments lies in their ring."""
    j = np.int64(p.old_first) + k
    return j - OLD if j >= OLD else j


@njit(cache=True, nogil=True)
def _window_of(age: int) -> int:
    """The shortest window that holds a payment of this age; 6 when none does."""
    if age < WINDOWS_MS[3]:
        if age < WINDOWS_MS[1]:
            return 0 if age < WINDOWS_MS[0] else 1
        return 2 if age < WINDOWS_MS[2] else 3
    if age < WINDOWS_MS[4]:
        return 4
    return 5 if age < WINDOWS_MS[5] else 6


@njit(cache=True, nogil=True)
def _windows(
    tx: Any, p: Any, row: Any, totals: Any, squares: Any, values: Any, spans: Any, youngest: Any
) -> None:
    """Statistics of the windows. ``totals`` (5, 6) and ``squares`` (6,): of the payments in each window and in no shorter one
    the count, sum, largest, sum of differences from a pivot and of their squares; the pivot, last, is one of the amounts.
    ``values`` (3, RECENT + 1), ``spans`` (RECENT + 1,) and ``youngest``: see ``_distinct``.
    """
    t, amount = tx.event_ms, tx.amount
    totals[:] = 0
    squares[:] = 0.0
    last_age: Any = np.int64(-1)
    if p.last_ms > 0 and t >= p.last_ms:
        # the header remembers the newest payment for longer than the rings do
        last_age = t - p.last_ms
    own_id, own_merchant = tx.id_hash & 0xFFFF, tx.merchant_hash & 0xFFFF
    base = p.base_ms
    known_merchant = False
    small = 1 if amount <= SMALL_AMOUNT else 0
    week = 0
    for j in range(p.n):
        age = t - (base + np.int64(p.recent[j].t))
        if age < 0:
            continue
        value = np.int64(p.recent[j].amount) + (np.int64(p.recent[j].amount_high) << 32)
        merchant = np.int64(p.recent[j].merchant)
        if age == 0 and value == amount and p.recent[j].id == own_id:
            continue
        if last_age < 0 or age < last_age:
            last_age = age
        if merchant == own_merchant:
            known_merchant = True
        w = _window_of(age)
        if w > 5:
            continue
        # not a call: it would cost more than the sums
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
    row[_NEW_MERCHANT] = 0.0 if known_merchant else 1.0
    if last_age >= 0:
        row[_SINCE] = last_age / 1000.0
    _write_windows(row, totals, squares, amount)
    spans[week] = 0
    values[0, week] = own_merchant
    values[1, week] = tx.country % 255 + 1 if tx.country != 0 else 0
    values[2, week] = tx.device_hash % 255 + 1 if tx.device_hash != 0 else 0
    for kind in range(3):
        _distinct(values[kind], spans, week + 1, kind > 0, youngest, row[_DISTINCT[kind] :])


@njit(cache=True, nogil=True)
def _old_windows(t: int, last_age: int, p: Any, totals: Any, squares: Any) -> Any:
    """Add the old payments, newest first; returns the age of the last payment, which may be one of them."""
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
            # ages only grow: close this window's sums, go on with the one that holds this age
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
    """Different values of the last hour, day and week; each counts where its youngest payment falls.

    Args:
        values: uint16, of n payments; with ``sparse`` 0 is none.
        spans: uint8, where each payment falls: 0 the hour, 1 the day, 2 the week.
        youngest: uint8, the span of each value's youngest payment, _NO_SPAN everywhere before and after.
    """
    # two passes without a branch: whether a value was there before is a coin that nobody can guess
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
def _write_windows(row: Any, totals: Any, squares: Any, amount: int) -> None:
    """From what is in each window and in no shorter one to the windows; then the amount against its own 30 days."""
    count, total, biggest = 0, 0, 0
    # mean and sum of squared differences from it, put together window by window (Chan et al. 1979): no cancellation
    mean, apart = 0.0, 0.0
    for w in range(6):
        inside = totals[0, w]
        if inside == 0 and w > 0:
            # nothing but what is in the shorter one already
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
        row[_COUNT + w] = count + 1
        row[_SUM + w] = total + amount
        row[_MEAN + w] = (total + amount) / (count + 1)
        row[_MAX + w] = max(biggest, amount)
        own = (amount - mean) * (amount - mean) * (count / (count + 1))
        row[_STD + w] = math.sqrt((apart + own) / (count + 1))
    if count >= 1:
        mean = total / count
        row[_RATIO] = amount / max(mean, 1.0)
        row[_RATIO_MAX] = amount / max(biggest, 1)
        if count >= 3:
            row[_Z] = (amount - mean) / max(math.sqrt(apart / count), 1.0)


@njit(cache=True, nogil=True)
def _known(table: Any, t: int, value: int) -> bool:
    """Whether a table of first times holds a value that was there at ``t``."""
    for j in range(table.shape[0]):
        if table[j] != 0 and table[j] & 0xFFFF == value and table[j] >> 16 <= t:
            return True
    return False


@njit(cache=True, nogil=True)
def _tables(tx: Any, p: Any, row: Any) -> None:
    """First payment at this merchant, from this device, in this country."""
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
        # the header is as of a later payment: what it says of this one's past is not known
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
    """Write one payment into the profile."""
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
    """The first time of a value; the value that came first of all makes room."""
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
    # frequent items of Misra and Gries (1982)
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
    """All counts together, so that shares stay what they are."""
    for j in range(24):
        p.hours[j] //= 2
    for j in range(CHANNELS):
        p.channels[j] //= 2
    for j in range(CATEGORIES):
        p.category_count[j] //= 2


@njit(cache=True, nogil=True)
def _move(tx: Any, t: int, p: Any) -> None:
    """Place, usual place and usual country after a payment that is not older than the newest."""
    lat, lon = tx.latitude, tx.longitude
    if not math.isnan(lat) and not math.isnan(lon):
        places = p.places
        # a running mean that forgets: the usual place follows a payer that moves house
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
    # majority vote of Boyer and Moore (1981): two fields find the usual country
    if p.home_votes <= 0:
        p.home_country = country
        p.home_votes = 1
    elif p.home_country == country:
        p.home_votes = min(p.home_votes + 1, 100)
    else:
        p.home_votes -= 1


@njit(cache=True, nogil=True)
def _insert(tx: Any, t: int, p: Any) -> None:
    """Put a payment among the newest; the oldest of them makes room and becomes an old one."""
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
    """Put a payment among the old ones, a ring in order of time; where it is full, the oldest go or two become a group.

    ``now`` and ``relative``: the newest payment's time and this one's, from the time base on.
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
    """Forget what is in no window any more; else merge two neighbours into a group.

    The cheapest pair goes: short for its age, with few payments, so that groups grow in proportion to their age and a
    window's far end is equally sharp for all windows. A group says the time of its newest payment, how many they are and
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
        # a group begins somewhere after the one before it
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
    # where nothing can be merged any more, the oldest goes
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
    """Move the time base forward; payments before it are outside every window and go."""
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
