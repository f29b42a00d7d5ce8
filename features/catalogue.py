"""The catalogue: the only place where a feature is defined. Names, order, units, defaults, reason texts.

The kernel fills a row in this order; training columns, Feast views, reason codes and docs follow from it. The hash
travels in every features record and every bundle; how records and bundles of another catalogue are read is decision 16.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from features.profile.records import (
    DAY_TILES,
    DECLINED_TILES,
    FIVE_TILES,
    FRAUD_DAYS,
    FRAUDS,
    HOUR_TILES,
    MINUTE_TILES,
    PAYER,
    SHARED_ENTITY,
    THIRD_TILES,
)

Entity = Literal["transaction", "card", "merchant", "device", "ip", "customer"]


@dataclass(frozen=True)
class Feature:
    """One entry. ``window_s`` 0 means the whole known history; ``default`` is what an unknown entity gives (NaN:
    unknown stays unknown); ``state_bytes`` is how much of the entity's profile the entry is read from, without the numbers
    that say where in it.
    """

    name: str
    entity: Entity
    unit: str
    window_s: int
    default: float
    exact: bool
    error: str
    state_bytes: int
    uses_labels: bool
    label_delay_s: int
    lateness: str
    reason_code: str
    reason_text: str


MINUTE, HOUR, DAY = 60, 3600, 86400
NAN = float("nan")
#: time that a fraud takes to be reported: rates look at the window that ended this long ago
LABEL_DELAY_S = 7 * DAY
#: an event further behind its card's newest than this is counted and marked as late
LATE_BOUND_S = DAY

_NONE = "none"
_RING = (
    "exact while no 31 days up to then held more than 130 payments; beyond, the oldest are kept in groups, or left out where"
    " one would pass 2^40 minor units: off by at most the one group at the window's far end, too much, and of a late payment the"
    " one that ends after it, too little"
)
_RING_LOW = _RING + "; largest and spread take a group for payments of its mean"
_FIRSTS = "exact while at most {others} other {plural} came since its first payment{more}; else a known one may count as new"
_ROUNDED = "; single precision, relative error 1e-6"
_DISTINCT = "of the newest 40 payments; two values count as one with probability 1/{odds} each pair"
_COUNTRIES = "of the newest 40 payments; two whose letters have the same sum, as FR and ES, count as one: one pair in 39"
_TILES = (
    "exact for the window that ends with the tile of {tile} that holds the payment, up to one tile later than said: what"
    " happened in a tile at its far end is missing, and a late payment counts what came after it in its own tile"
)
_DELAYED = "exact for the window that ends with the last whole tile of 8 hours before 7 days ago, up to one tile earlier than said"
_SKETCH = (
    "linear counting of 128 buckets: standard error 9 % up to 200 cards, ends at 621; whole tiles of a minute; without the"
    " cards that came again after a late payment{more}"
)


def _bytes(profile: np.dtype[np.void], *fields: str) -> int:
    return sum(profile[field].itemsize for field in fields)


_RECENT = _bytes(PAYER, "recent")
_RINGS = _RECENT + _bytes(PAYER, "old_t", "old_amount", "old_count", "old_high")

_PLACED = "counted where it belongs from its arrival on; earlier decisions keep what they saw"
_HELD = (
    "counted where it belongs from its arrival on, unless it has the time and amount of one before the newest 40; earlier"
    " decisions keep what they saw; one that is more than a day late misses what lies 31 days behind the newest"
)
_IN_ORDER = "unknown for a payment older than the newest one; such a payment leaves it as it is"
_KEPT = "known for a payment up to {kept} behind the newest{of}, unknown a tile later; counts where its tile is kept"
_UNORDERED = "unknown for a payment older than the newest one, which counts all the same"


def _f(
    name: str,
    entity: Entity,
    unit: str,
    text: str,
    *,
    window_s: int = 0,
    default: float = NAN,
    error: str = _NONE,
    state_bytes: int = 0,
    label_delay_s: int = 0,
    lateness: str = _PLACED,
) -> Feature:
    return Feature(
        name=name, entity=entity, unit=unit, window_s=window_s, default=default, exact=error == _NONE, error=error,
        state_bytes=state_bytes, uses_labels=label_delay_s > 0, label_delay_s=label_delay_s, lateness=lateness,
        reason_code=name.upper(), reason_text=text,
    )  # fmt: skip


#: label of a window -> seconds
WINDOWS = {"1m": MINUTE, "10m": 10 * MINUTE, "1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
_NAMED = {
    "1m": "minute", "10m": "10 minutes", "1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days", "1d": "day",
}  # fmt: skip


def _span(seconds: int) -> str:
    """Whole minutes in words."""
    parts = []
    for unit, size in (("day", DAY), ("hour", HOUR), ("minute", MINUTE)):
        many, seconds = divmod(seconds, size)
        if many:
            parts.append(f"{many} {unit}{'s' if many > 1 else ''}")
    return " ".join(parts)


def _transaction() -> list[Feature]:
    return [
        _f("amount", "transaction", "minor units", "amount {value:.0f} minor units"),
        _f("log_amount", "transaction", "ln(1 + minor units)", "unusual amount"),
        _f("round_amount", "transaction", "0/1", "a round amount"),
        _f("hour", "transaction", "hour UTC", "at {value:.0f} o'clock UTC"),
        _f("weekday", "transaction", "0 = Monday", "on this day of the week"),
        _f("night", "transaction", "0/1", "at night"),
        _f("weekend", "transaction", "0/1", "at a weekend"),
        _f("channel", "transaction", "0 pos, 1 ecom, 2 atm, 3 transfer, 4 moto", "through this channel"),
        _f("mcc", "transaction", "merchant category code", "in merchant category {value:.0f}"),
        _f("currency_code", "transaction", "three letters as a number in base 26", "in this currency"),
    ]


def _payer(entity: Entity, noun: str) -> list[Feature]:
    """Entries of a card or a customer: both are kept as their last payments, both lists have the same order."""
    windows = [
        ("count", "transactions", f"{{value:.0f}} payments of the {noun} in the last {{window}}", _RING),
        ("sum", "minor units", f"{{value:.0f}} minor units spent by the {noun} in the last {{window}}", _RING),
        ("mean", "minor units", f"mean payment of the {noun} is {{value:.0f}} minor units in the last {{window}}", _RING),
        ("max", "minor units", f"largest payment of the {noun} in the last {{window}} is {{value:.0f}} minor units", _RING_LOW),
        ("std", "minor units", f"the {noun}'s payments of the last {{window}} differ by {{value:.0f}} minor units", _RING_LOW + _ROUNDED),
    ]  # fmt: skip
    out = [
        _f(f"{entity}_{statistic}_{label}", entity, unit, text.replace("{window}", _NAMED[label]),
           window_s=seconds, error=error, state_bytes=_RINGS, lateness=_HELD)
        for statistic, unit, text, error in windows for label, seconds in WINDOWS.items()
    ]  # fmt: skip
    for plural, error in (
        ("merchants", _DISTINCT.format(odds=65536)),
        ("countries", _COUNTRIES),
        ("devices", _DISTINCT.format(odds=255)),
    ):
        out += [
            _f(f"{entity}_{plural}_{label}", entity, plural, f"{{value:.0f}} different {plural} in the last {_NAMED[label]}",
               window_s=WINDOWS[label], error=error, state_bytes=_RECENT, lateness=_HELD)
            for label in ("1h", "24h", "7d")
        ]  # fmt: skip
    out += [
        _f(f"{entity}_amount_zscore_30d", entity, "standard deviations", f"amount is {{value:.1f}} standard deviations from the {noun}'s own",
           window_s=30 * DAY, error=_RING_LOW + _ROUNDED, state_bytes=_RINGS, lateness=_HELD),
        _f(f"{entity}_amount_ratio_mean_30d", entity, "ratio", f"{{value:.1f}} times the {noun}'s mean payment",
           window_s=30 * DAY, error=_RING, state_bytes=_RINGS, lateness=_HELD),
        _f(f"{entity}_amount_ratio_max_30d", entity, "ratio", f"{{value:.1f}} times the {noun}'s largest payment",
           window_s=30 * DAY, error=_RING_LOW, state_bytes=_RINGS, lateness=_HELD),
        _f(f"{entity}_seconds_since_last", entity, "seconds", "{value:.0f} seconds after the payment before",
           error="a late payment knows 31 days before the newest and, beyond 130 payments, the groups' newest",
           state_bytes=_RINGS + _bytes(PAYER, "last_ms"), lateness=_HELD),
        _f(f"{entity}_small_run_1h", entity, "transactions", "{value:.0f} small payments in the last hour",
           window_s=HOUR, error="of the newest 40 payments", state_bytes=_RECENT, lateness=_HELD),
        _f(f"{entity}_new_merchant", entity, "0/1", f"first payment of the {noun} at this merchant",
           error=_FIRSTS.format(others=15, plural="merchants", more=", or for those of the newest 40 payments"),
           state_bytes=_RECENT + _bytes(PAYER, "merchants"), lateness=_HELD),
        _f(f"{entity}_new_device", entity, "0/1", f"first payment of the {noun} from this device",
           error=_FIRSTS.format(others=5, plural="devices", more=""), state_bytes=_bytes(PAYER, "devices"), lateness=_HELD),
        _f(f"{entity}_new_country", entity, "0/1", f"first payment of the {noun} in this country",
           error=_FIRSTS.format(others=3, plural="countries", more=""), state_bytes=_bytes(PAYER, "countries"), lateness=_HELD),
        _f(f"{entity}_speed_kmh", entity, "km/h", f"the {noun} would have travelled at {{value:.0f}} km/h",
           state_bytes=_bytes(PAYER, "place_ms", "place_lat", "place_lon"), lateness=_IN_ORDER,
           error="places to 1e-7 of their degrees"),
        _f(f"{entity}_home_distance_km", entity, "km", f"{{value:.0f}} km from the {noun}'s usual place",
           state_bytes=_bytes(PAYER, "home_lat", "home_lon"), lateness=_IN_ORDER,
           error="the usual place is a mean that forgets after 50 payments"),
        _f(f"{entity}_cross_border", entity, "0/1", f"outside the {noun}'s usual country",
           state_bytes=_bytes(PAYER, "home_country", "home_votes"), lateness=_IN_ORDER,
           error="usual is what the majority vote of Boyer and Moore holds"),
        _f(f"{entity}_hour_share", entity, "share", f"{{value:.0%}} of the {noun}'s payments fall in this hour of the day",
           state_bytes=_bytes(PAYER, "hours"), lateness=_UNORDERED, error="counts halve when one reaches 65535"),
        _f(f"{entity}_channel_share", entity, "share", f"{{value:.0%}} of the {noun}'s payments go through this channel",
           state_bytes=_bytes(PAYER, "hours", "channels"), lateness=_UNORDERED, error="counts halve when one reaches 65535"),
        _f(f"{entity}_mcc_share", entity, "share", f"{{value:.0%}} of the {noun}'s payments are in this merchant category",
           state_bytes=_bytes(PAYER, "hours", "category", "category_count"), lateness=_UNORDERED,
           error="8 categories by Misra and Gries: at most 1/9 too low; counts halve when one reaches 65535"),
        _f(f"{entity}_age_days", entity, "days", f"the {noun} has been known for {{value:.0f}} days",
           state_bytes=_bytes(PAYER, "first_ms")),
        _f(f"{entity}_frauds_30d", entity, "frauds", "{value:.0f} reported frauds in 30 days", window_s=30 * DAY, default=0,
           state_bytes=_bytes(FRAUDS, "day_fraud"), label_delay_s=1, error=_TILES.format(tile="a day"),
           lateness=_KEPT.format(kept=_span((FRAUD_DAYS - 30) * DAY), of=" fraud")),
        _f(f"{entity}_declined_1h", entity, "transactions", "{value:.0f} payments declined in the last hour", window_s=HOUR,
           default=0, state_bytes=_bytes(FRAUDS, "declined"), error=_TILES.format(tile="5 minutes"),
           lateness=_KEPT.format(kept=_span((DECLINED_TILES - 12) * 300), of=" decline")),
    ]  # fmt: skip
    return out


#: tile of a shared entity -> its seconds, how many are kept, and how its fields are called
_TILED = {
    "a minute": (MINUTE, MINUTE_TILES, "minute"), "5 minutes": (5 * MINUTE, FIVE_TILES, "five"),
    "an hour": (HOUR, HOUR_TILES, "hour"), "8 hours": (8 * HOUR, THIRD_TILES, "third"), "a day": (DAY, DAY_TILES, "day"),
}  # fmt: skip
_COUNTED_BY = {"10m": "a minute", "1h": "5 minutes", "24h": "an hour", "7d": "8 hours", "30d": "8 hours"}
_SUMMED_BY = {**_COUNTED_BY, "7d": "a day", "30d": "a day"}
#: label -> how far behind the newest payment different cards are still known
_CARDS_KEPT = {"10m": 10 * MINUTE, "1h": HOUR, "24h": DAY, "7d": DAY}


def _kept(tile: str, window_s: int) -> str:
    size, many, _ = _TILED[tile]
    return _KEPT.format(kept=_span(many * size - window_s), of="")


def _delayed(window_s: int) -> tuple[str, str]:
    """``error`` and ``lateness`` of what ended 7 days ago: it reads whole tiles before the one of 7 days ago."""
    size, many, _ = _TILED["8 hours"]
    spare_s = many * size - window_s - LABEL_DELAY_S - size
    lacking = "" if spare_s else "; for a payment behind the newest, its first tile may be missing"
    return _DELAYED + lacking, _KEPT.format(kept=_span(max(spare_s, size)), of="")


def _shared_entity(entity: Entity, noun: str) -> list[Feature]:
    """Entries of a merchant, device or address, where cards meet; all three lists have the same order."""
    out = [
        _f(f"{entity}_count_{label}", entity, "transactions", f"{{value:.0f}} payments {noun} in the last {_NAMED[label]}",
           window_s=WINDOWS[label], default=0, state_bytes=_bytes(SHARED_ENTITY, f"{_TILED[tile][2]}_count"),
           error=_TILES.format(tile=tile), lateness=_kept(tile, WINDOWS[label]))
        for label, tile in _COUNTED_BY.items()
    ]  # fmt: skip
    out += [
        _f(f"{entity}_sum_{label}", entity, "minor units", f"{{value:.0f}} minor units {noun} in the last {_NAMED[label]}",
           window_s=WINDOWS[label], default=0, state_bytes=_bytes(SHARED_ENTITY, f"{_TILED[_SUMMED_BY[label]][2]}_sum"),
           error=_TILES.format(tile=_SUMMED_BY[label]), lateness=_kept(_SUMMED_BY[label], WINDOWS[label]))
        for label in ("10m", "1h", "24h", "7d")
    ]  # fmt: skip
    out += [
        _f(f"{entity}_cards_{label}", entity, "cards", f"{{value:.0f}} different cards {noun} in the last {_NAMED[label]}",
           window_s=WINDOWS[label], default=0, state_bytes=_bytes(SHARED_ENTITY, "card_minute"),
           error=_SKETCH.format(more=", and without what is a week behind the newest" if label == "7d" else ""),
           lateness=f"known for a payment up to {_span(kept_s)} behind the newest, unknown a minute later")
        for label, kept_s in _CARDS_KEPT.items()
    ]  # fmt: skip
    of_month, month_kept = _TILES.format(tile="a day"), _kept("a day", 30 * DAY)
    out += [
        _f(f"{entity}_mean_30d", entity, "minor units", f"mean payment {noun} is {{value:.0f}} minor units",
           window_s=30 * DAY, state_bytes=_bytes(SHARED_ENTITY, "day_sum", "day_count"), error=of_month, lateness=month_kept),
        _f(f"{entity}_amount_ratio_mean_30d", entity, "ratio", f"{{value:.1f}} times the mean payment {noun}",
           window_s=30 * DAY, state_bytes=_bytes(SHARED_ENTITY, "day_sum", "day_count"), error=of_month + _ROUNDED, lateness=month_kept),
        _f(f"{entity}_burst_1h", entity, "ratio", f"{{value:.1f}} times the usual number of payments an hour {noun}",
           window_s=7 * DAY, default=0, state_bytes=_bytes(SHARED_ENTITY, "five_count", "third_count"),
           error=f"those of {entity}_count_1h and {entity}_count_7d", lateness=_kept("5 minutes", HOUR)),
    ]  # fmt: skip
    for label, seconds in (("1d", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY)):
        error, lateness = _delayed(seconds)
        out += [
            _f(f"{entity}_count_{label}_delayed", entity, "transactions", f"payments {noun} in the {_NAMED[label]} before last week",
               window_s=seconds, default=0, state_bytes=_bytes(SHARED_ENTITY, "third_count"), label_delay_s=LABEL_DELAY_S, error=error, lateness=lateness),
            _f(f"{entity}_fraud_rate_{label}", entity, "share", f"{{value:.1%}} fraud {noun}, {_NAMED[label]}",
               window_s=seconds, default=0, state_bytes=_bytes(SHARED_ENTITY, "third_count", "third_fraud"), label_delay_s=LABEL_DELAY_S, error=error, lateness=lateness),
        ]  # fmt: skip
    return out


FEATURES: tuple[Feature, ...] = tuple(
    _transaction() + _payer("card", "card") + _payer("customer", "customer")
    + _shared_entity("merchant", "at this merchant") + _shared_entity("device", "from this device") + _shared_entity("ip", "from this address")
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}
WIDTH = len(FEATURES)


def catalogue_hash() -> str:
    """16 hex digits over every entry's content and order."""
    text = repr([sorted(asdict(feature).items(), key=lambda item: item[0]) for feature in FEATURES])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


CATALOGUE_HASH = catalogue_hash()
