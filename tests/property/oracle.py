"""The naive oracle: each feature in a few obvious lines over the full list of earlier events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

DAY, HOUR = 86_400_000, 3_600_000
WINDOWS = {"10m": 600_000, "1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}


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
    tenant: str = "default"


@dataclass
class Card:
    """All events of one card that arrived so far."""

    events: list[Event] = field(default_factory=list)

    def is_repeated(self, e: Event) -> bool:
        return any(
            (p.transaction_id, p.event_ms, p.amount_minor) == (e.transaction_id, e.event_ms, e.amount_minor)
            for p in self.events
        )

    def features(self, e: Event) -> dict[str, float]:
        """Window features of ``e`` given what arrived before it; events later in event time do not count."""
        past = [p for p in self.events if p.event_ms <= e.event_ms]
        out: dict[str, float] = {}
        for name, width in WINDOWS.items():
            inside = [p.amount_minor for p in past if p.event_ms > e.event_ms - width] + [e.amount_minor]
            out[f"card_count_{name}"] = len(inside)
            out[f"card_sum_{name}"] = sum(inside)
            if name in ("24h", "7d", "30d"):
                out[f"card_mean_{name}"] = sum(inside) / len(inside)
        month = [p.amount_minor for p in past if p.event_ms > e.event_ms - 30 * DAY]
        out["card_max_30d"] = max([*month, e.amount_minor])
        if month:
            mean = sum(month) / len(month)
            out["card_amount_ratio_mean_30d"] = e.amount_minor / max(mean, 1.0)
            if len(month) >= 3:
                deviation = math.sqrt(max(sum(a * a for a in month) / len(month) - mean * mean, 0))
                out["card_amount_zscore_30d"] = (e.amount_minor - mean) / max(deviation, 1.0)
        in_order = all(p.event_ms <= e.event_ms for p in self.events)
        recent = past if in_order else [p for p in past if p.event_ms > e.event_ms - 30 * DAY]
        if recent:
            out["card_seconds_since_last"] = min(e.event_ms - p.event_ms for p in recent) / 1000
        hour = [p for p in past if p.event_ms > e.event_ms - HOUR]
        day = [p for p in past if p.event_ms > e.event_ms - DAY]
        out["card_merchants_1h"] = len({p.merchant_id for p in [*hour, e]})
        out["card_merchants_24h"] = len({p.merchant_id for p in [*day, e]})
        out["card_new_merchant"] = float(
            e.merchant_id not in {p.merchant_id for p in past if p.event_ms > e.event_ms - 30 * DAY}
        )
        out["card_small_run_1h"] = sum(p.amount_minor <= 500 for p in [*hour, e])
        return out


def tile_counts(events: list[Event], entity: str, entity_id: str, t: int) -> dict[str, float]:
    """Counts of whole tiles up to the one that holds t, of the transactions applied so far."""
    times = [e.event_ms for e in events if getattr(e, entity) == entity_id]

    def tiles(size: int, first: int, last: int) -> int:
        return sum(first <= ms // size <= last for ms in times)

    five, hour, day = t // 300_000, t // HOUR, t // DAY
    return {
        "count_1h": tiles(300_000, five - 11, five),
        "count_24h": tiles(HOUR, hour - 23, hour),
        "count_7d": tiles(DAY, day - 6, day),
        "count_30d": tiles(DAY, day - 29, day),
        "count_30d_delayed": tiles(DAY, day - 37, day - 8),
    }
