"""The naive oracle: each feature in a few obvious lines over the full list of earlier events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WINDOWS = {"1m": MINUTE, "10m": 10 * MINUTE, "1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
DELAY = 7 * DAY
CHANNELS = ["pos", "ecom", "atm", "transfer", "moto"]
#: entries that nobody knows of an entity alone: what compares a payment with the past of its card, or asks whether something of it is new
LOOKS_AT_THE_PAYMENT = {
    "amount_zscore_30d", "amount_ratio_mean_30d", "amount_ratio_max_30d", "new_merchant", "new_device", "new_country",
    "speed_kmh", "home_distance_km", "cross_border", "channel_share", "mcc_share",
}  # fmt: skip


@dataclass
class Event:
    transaction_id: str
    card_id: str
    merchant_id: str
    event_ms: int
    amount_minor: int
    device_id: str | None = None
    ip: str | None = None
    customer_id: str | None = None
    country: str | None = None
    channel: str | None = None
    mcc: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    currency: str = "EUR"
    tenant: str = "default"


def of_transaction(e: Event) -> dict[str, float]:
    day, hour = e.event_ms // DAY, e.event_ms // HOUR % 24
    return {
        "amount": e.amount_minor,
        "log_amount": math.log1p(e.amount_minor),
        "round_amount": float(e.amount_minor % 1000 == 0),
        "hour": hour,
        "weekday": (day + 3) % 7,
        "night": float(hour <= 6),
        "weekend": float((day + 3) % 7 >= 5),
        "channel": CHANNELS.index(e.channel) if e.channel else math.nan,
        "mcc": float(e.mcc) if e.mcc else math.nan,
        "currency_code": (ord(e.currency[0]) - 65) * 676
        + (ord(e.currency[1]) - 65) * 26
        + ord(e.currency[2])
        - 65,
    }


def deviation(amounts: list[int]) -> float:
    """Population standard deviation, without rounding before the root."""
    n, total = len(amounts), sum(amounts)
    return math.sqrt(Fraction(n * sum(a * a for a in amounts) - total * total, n * n))


def kilometres(a: Event, b: Event) -> float:
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (a.latitude, a.longitude, b.latitude, b.longitude))
    half = (
        math.sin((lat_b - lat_a) / 2) ** 2
        + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    )
    return 2 * 6371 * math.asin(math.sqrt(half))


@dataclass
class Payer:
    """All events of one card or customer that arrived so far."""

    events: list[Event] = field(default_factory=list)

    def is_repeated(self, e: Event) -> bool:
        return any(
            (p.transaction_id, p.event_ms, p.amount_minor) == (e.transaction_id, e.event_ms, e.amount_minor)
            for p in self.events
        )

    def features(self, e: Event) -> dict[str, float]:
        """Features of ``e`` given what arrived before it; events later in event time do not count. NaN: unknown."""
        past = [p for p in self.events if p.event_ms <= e.event_ms]
        return {**self.windows(e, past), **self.firsts(e, past), **self.habits(e)}

    def windows(self, e: Event, past: list[Event]) -> dict[str, float]:
        out: dict[str, float] = {}

        def inside(name: str) -> list[Event]:
            return [p for p in past if p.event_ms > e.event_ms - WINDOWS[name]]

        for name in WINDOWS:
            amounts = [p.amount_minor for p in inside(name)] + [e.amount_minor]
            out[f"count_{name}"] = len(amounts)
            out[f"sum_{name}"] = sum(amounts)
            out[f"mean_{name}"] = sum(amounts) / len(amounts)
            out[f"max_{name}"] = max(amounts)
            out[f"std_{name}"] = deviation(amounts)
        for name in ("1h", "24h", "7d"):
            out[f"merchants_{name}"] = len({p.merchant_id for p in [*inside(name), e]})
            out[f"countries_{name}"] = len({p.country for p in [*inside(name), e]} - {None})
            out[f"devices_{name}"] = len({p.device_id for p in [*inside(name), e]} - {None})
        month = [p.amount_minor for p in inside("30d")]
        mean = sum(month) / len(month) if month else math.nan
        out["amount_ratio_mean_30d"] = e.amount_minor / max(mean, 1.0) if month else math.nan
        out["amount_ratio_max_30d"] = e.amount_minor / max(*month, 1) if month else math.nan
        out["amount_zscore_30d"] = (
            (e.amount_minor - mean) / max(deviation(month), 1.0) if len(month) >= 3 else math.nan
        )
        out["small_run_1h"] = sum(p.amount_minor <= 500 for p in [*inside("1h"), e])
        in_order = all(p.event_ms <= e.event_ms for p in self.events)
        known = past if in_order else [p for p in past if p.event_ms > e.event_ms - 31 * DAY]
        out["seconds_since_last"] = min(e.event_ms - p.event_ms for p in known) / 1000 if known else math.nan
        return out

    def firsts(self, e: Event, past: list[Event]) -> dict[str, float]:
        return {
            "new_merchant": float(e.merchant_id not in {p.merchant_id for p in past}),
            "new_device": float(e.device_id not in {p.device_id for p in past}) if e.device_id else math.nan,
            "new_country": float(e.country not in {p.country for p in past}) if e.country else math.nan,
            "age_days": max(0, e.event_ms - min((p.event_ms for p in self.events), default=e.event_ms)) / DAY,
        }

    def habits(self, e: Event) -> dict[str, float]:
        """What the header says; unknown for an event older than the newest."""
        names = ("speed_kmh", "home_distance_km", "cross_border", "hour_share", "channel_share", "mcc_share")
        out = dict.fromkeys(names, math.nan)
        if any(p.event_ms > e.event_ms for p in self.events):
            return out
        moved = [
            p for i, p in enumerate(self.events) if all(q.event_ms <= p.event_ms for q in self.events[:i])
        ]
        placed = [p for p in moved if p.latitude is not None and p.longitude is not None]
        if placed and e.latitude is not None and e.longitude is not None:
            hours = max(e.event_ms - placed[-1].event_ms, 1000) / HOUR
            out["speed_kmh"] = kilometres(placed[-1], e) / hours
            home = Event("", "", "", 0, 0, latitude=0.0, longitude=0.0)
            for i, p in enumerate(placed):
                home.latitude += (p.latitude - home.latitude) / min(i + 1, 50)
                home.longitude += (p.longitude - home.longitude) / min(i + 1, 50)
            out["home_distance_km"] = kilometres(home, e)
        usual, votes = None, 0
        for p in moved:
            if p.country and votes <= 0:
                usual, votes = p.country, 1
            elif p.country:
                votes = min(votes + 1, 100) if p.country == usual else votes - 1
        if e.country and votes > 0:
            out["cross_border"] = float(e.country != usual)
        n = len(self.events)
        if n >= 5:
            out["hour_share"] = (
                sum(p.event_ms // HOUR % 24 == e.event_ms // HOUR % 24 for p in self.events) / n
            )
            if e.channel:
                out["channel_share"] = sum(p.channel == e.channel for p in self.events) / n
            if e.mcc:
                out["mcc_share"] = sum(p.mcc == e.mcc for p in self.events) / n
        return out


def tiles(times: list[int], size: int, first: int, last: int) -> list[int]:
    """Positions of the times that fall into whole tiles first..last."""
    return [i for i, ms in enumerate(times) if first <= ms // size <= last]


def of_shared_entity(events: list[Event], frauds: list[Event], e: Event) -> dict[str, float]:
    """A shared entity's features at ``e``: of whole tiles up to the one that holds it, of the events applied so far.

    Args:
        events, frauds: the place's own, ``frauds`` those whose label is known.
    """
    t, out = e.event_ms, {}
    times = [p.event_ms for p in events]
    grid = {
        "10m": (MINUTE, 10),
        "1h": (5 * MINUTE, 12),
        "24h": (HOUR, 24),
        "7d": (8 * HOUR, 21),
        "30d": (8 * HOUR, 90),
    }
    for name, (size, many) in grid.items():
        found = tiles(times, size, t // size - many + 1, t // size)
        out[f"count_{name}"] = len(found)
        if name in ("10m", "1h", "24h"):
            out[f"sum_{name}"] = sum(events[i].amount_minor for i in found)
    week = tiles(times, DAY, t // DAY - 6, t // DAY)
    month = tiles(times, DAY, t // DAY - 29, t // DAY)
    out["sum_7d"] = sum(events[i].amount_minor for i in week)
    mean = sum(events[i].amount_minor for i in month) / len(month) if month else math.nan
    out["mean_30d"] = mean
    out["amount_ratio_mean_30d"] = e.amount_minor / max(mean, 1.0) if month else math.nan
    out["burst_1h"] = out["count_1h"] / max(out["count_7d"] / 168, 1.0)
    for name, minutes in (("10m", 10), ("1h", 60), ("24h", 1440), ("7d", 10_080)):
        seen = tiles(times, MINUTE, t // MINUTE - minutes + 1, t // MINUTE)
        out[f"cards_{name}"] = len({events[i].card_id for i in seen})
    last = t // (8 * HOUR) - 22
    for name, many in (("1d", 3), ("7d", 21), ("30d", 90)):
        count = len(tiles(times, 8 * HOUR, last - many + 1, last))
        bad = len(tiles([p.event_ms for p in frauds], 8 * HOUR, last - many + 1, last))
        out[f"count_{name}_delayed"] = count
        out[f"fraud_rate_{name}"] = bad / count if count else 0.0
    return out


def of_frauds(frauds: list[int], declined: list[int], t: int) -> dict[str, float]:
    """A payer's reported frauds (event times) by days, and declines by five minutes."""
    return {
        "frauds_30d": len(tiles(frauds, DAY, t // DAY - 29, t // DAY)),
        "declined_1h": len(tiles(declined, 5 * MINUTE, t // (5 * MINUTE) - 11, t // (5 * MINUTE))),
    }
