"""The catalogue: the only place where a feature is defined. Names, order, units, defaults, reason texts.

The kernel fills a row in this order; training columns, Feast views, reason codes and docs follow from it. The hash
travels in every features record and every bundle: a model never meets features of another catalogue.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

Entity = Literal["transaction", "card", "merchant", "device", "ip", "customer"]


@dataclass(frozen=True)
class Feature:
    """One entry. ``window_s`` 0 means the whole known history; ``default`` is what an unknown entity gives."""

    name: str
    entity: Entity
    unit: str
    window_s: int
    default: float
    exact: bool
    error: str
    uses_labels: bool
    label_delay_s: int
    lateness: str
    reason_code: str
    reason_text: str


MINUTE, HOUR, DAY = 60, 3600, 86400
NAN = float("nan")
#: time that a fraud takes to be reported: rates look at the window that ended this long ago
LABEL_DELAY_S = 7 * DAY

_RING = "exact while the card has at most 112 events in the window, a lower bound beyond"
_TILES = "counts whole tiles: off by at most what happened in one tile at the window's far end"
_LATE = "counted where it belongs from its arrival on; earlier decisions keep what they saw"
_HEADER = "in order of arrival"


def _f(
    name: str,
    entity: Entity,
    unit: str,
    text: str,
    *,
    window_s: int = 0,
    default: float = NAN,
    exact: bool = True,
    error: str = "none",
    label_delay_s: int = 0,
    lateness: str = _LATE,
) -> Feature:
    return Feature(
        name=name, entity=entity, unit=unit, window_s=window_s, default=default, exact=exact, error=error,
        uses_labels=label_delay_s > 0, label_delay_s=label_delay_s, lateness=lateness,
        reason_code=name.upper(), reason_text=text,
    )  # fmt: skip


_WINDOWS = (("10m", 10 * MINUTE), ("1h", HOUR), ("24h", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY))
_NAMED = {"10m": "10 minutes", "1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days", "1d": "day"}


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
    ]


def _card() -> list[Feature]:
    out: list[Feature] = []
    for label, seconds in _WINDOWS:
        out.append(_f(f"card_count_{label}", "card", "transactions", f"{{value:.0f}} payments in the last {_NAMED[label]}",
                      window_s=seconds, exact=False, error=_RING))  # fmt: skip
    for label, seconds in _WINDOWS:
        out.append(_f(f"card_sum_{label}", "card", "minor units", f"{{value:.0f}} minor units spent in the last {_NAMED[label]}",
                      window_s=seconds, exact=False, error=_RING))  # fmt: skip
    for label, seconds in _WINDOWS[2:]:
        out.append(_f(f"card_mean_{label}", "card", "minor units", f"mean payment of {{value:.0f}} minor units in the last {_NAMED[label]}",
                      window_s=seconds, exact=False, error=_RING))  # fmt: skip
    out += [
        _f("card_max_30d", "card", "minor units", "largest payment of 30 days was {value:.0f} minor units",
           window_s=30 * DAY, exact=False, error=_RING),
        _f("card_amount_zscore_30d", "card", "standard deviations", "amount is {value:.1f} standard deviations from the card's own",
           window_s=30 * DAY, exact=False, error=_RING),
        _f("card_amount_ratio_mean_30d", "card", "ratio", "{value:.1f} times the card's mean payment",
           window_s=30 * DAY, exact=False, error=_RING),
        _f("card_seconds_since_last", "card", "seconds", "{value:.0f} seconds after the payment before",
           exact=False, error="an event that arrives out of order knows 30 days"),
        _f("card_merchants_1h", "card", "merchants", "{value:.0f} different merchants in the last hour",
           window_s=HOUR, exact=False, error="two merchants count as one with probability 1/65536 each pair"),
        _f("card_merchants_24h", "card", "merchants", "{value:.0f} different merchants in the last 24 hours",
           window_s=DAY, exact=False, error="two merchants count as one with probability 1/65536 each pair"),
        _f("card_countries_24h", "card", "countries", "{value:.0f} different countries in the last 24 hours",
           window_s=DAY, exact=False, error="two countries count as one with probability 1/255 each pair"),
        _f("card_speed_kmh", "card", "km/h", "the card would have travelled at {value:.0f} km/h", lateness=_HEADER),
        _f("card_home_distance_km", "card", "km", "{value:.0f} km from the card's usual place", lateness=_HEADER),
        _f("card_new_merchant", "card", "0/1", "first payment at this merchant in 30 days", window_s=30 * DAY, exact=False, error=_RING),
        _f("card_new_device", "card", "0/1", "first payment from this device", exact=False,
           error="the last 8 devices are remembered", lateness=_HEADER),
        _f("card_cross_border", "card", "0/1", "outside the card's usual country", lateness=_HEADER),
        _f("card_small_run_1h", "card", "transactions", "{value:.0f} small payments in the last hour",
           window_s=HOUR, exact=False, error=_RING),
        _f("card_hour_share", "card", "share", "{value:.0%} of the card's payments fall in this hour of the day",
           exact=False, error="counts halve when one reaches 65535", lateness=_HEADER),
        _f("card_age_days", "card", "days", "the card has been known for {value:.0f} days", lateness=_HEADER),
        _f("card_frauds_30d", "card", "frauds", "{value:.0f} reported frauds in 30 days", window_s=30 * DAY,
           exact=False, error=_TILES, label_delay_s=1),
    ]  # fmt: skip
    return out


def _merchant() -> list[Feature]:
    out = []
    for label, seconds in (("1h", HOUR), ("24h", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY)):
        out.append(_f(f"merchant_count_{label}", "merchant", "transactions", f"{{value:.0f}} payments at this merchant in the last {_NAMED[label]}",
                      window_s=seconds, exact=False, error=_TILES))  # fmt: skip
    out += [
        _f("merchant_mean_30d", "merchant", "minor units", "mean payment at this merchant is {value:.0f} minor units",
           window_s=30 * DAY, exact=False, error=_TILES),
        _f("merchant_amount_ratio_mean_30d", "merchant", "ratio", "{value:.1f} times the merchant's mean payment",
           window_s=30 * DAY, exact=False, error=_TILES),
        _f("merchant_cards_1h", "merchant", "cards", "{value:.0f} different cards at this merchant in the last hour",
           window_s=HOUR, exact=False, error="of the last 32 events"),
    ]  # fmt: skip
    for label, seconds in (("1d", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY)):
        out.append(_f(f"merchant_count_{label}_delayed", "merchant", "transactions", f"payments at this merchant in the {_NAMED[label]} before last week",
                      window_s=seconds, exact=False, error=_TILES, label_delay_s=LABEL_DELAY_S))  # fmt: skip
        out.append(_f(f"merchant_fraud_rate_{label}", "merchant", "share", f"{{value:.1%}} fraud at this merchant, {_NAMED[label]}",
                      window_s=seconds, exact=False, error=_TILES, label_delay_s=LABEL_DELAY_S))  # fmt: skip
    return out


def _shared(entity: Entity, noun: str) -> list[Feature]:
    return [
        _f(f"{entity}_count_1h", entity, "transactions", f"{{value:.0f}} payments from this {noun} in the last hour",
           window_s=HOUR, exact=False, error=_TILES),
        _f(f"{entity}_count_24h", entity, "transactions", f"{{value:.0f}} payments from this {noun} in the last 24 hours",
           window_s=DAY, exact=False, error=_TILES),
        _f(f"{entity}_cards_24h", entity, "cards", f"{{value:.0f}} different cards from this {noun} in the last 24 hours",
           window_s=DAY, exact=False, error="of the last 32 events"),
        _f(f"{entity}_fraud_rate_30d", entity, "share", f"{{value:.1%}} fraud from this {noun}",
           window_s=30 * DAY, exact=False, error=_TILES, label_delay_s=LABEL_DELAY_S),
    ]  # fmt: skip


FEATURES: tuple[Feature, ...] = tuple(
    _transaction() + _card() + _merchant()
    + _shared("device", "device") + _shared("ip", "address") + _shared("customer", "customer")
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}
WIDTH = len(FEATURES)


def catalogue_hash() -> str:
    """16 hex digits over every entry's content and order."""
    text = repr([sorted(asdict(feature).items(), key=lambda item: item[0]) for feature in FEATURES])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


CATALOGUE_HASH = catalogue_hash()
