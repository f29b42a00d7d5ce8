"""The catalogue: the only place where a feature is defined. Names, order, units, sources, windows, defaults, reason texts.

The kernel fills a row in this order. Training columns, Feast views, reason codes and docs are derived from it. Every features
record and every bundle carries the catalogue's hash. Decision 16 says how records and bundles of another catalogue are read.
"""

from __future__ import annotations

import hashlib
from typing import get_args

import numpy as np
import numpy.typing as npt

from features import catalogue_texts as texts
from features.catalogue_texts import DAY, HOUR, MINUTE, span
from features.feature import MINOR_UNITS, Entity, Feature, Source, Truncation
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

NAN = float("nan")
#: assumed time until a fraud is reported: fraud rates use a window that ended this long ago
LABEL_DELAY_S = 7 * DAY
#: an event further behind its card's newest event than this is counted and marked as late
LATE_BOUND_S = DAY
#: window name -> seconds
WINDOWS = {"1m": MINUTE, "10m": 10 * MINUTE, "1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
_NAMED = {
    "1m": "minute", "10m": "10 minutes", "1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days", "1d": "day",
}  # fmt: skip
#: source -> its stored record; the transaction itself is not stored
_PROFILES = {
    "card": PAYER, "customer": PAYER, "card_frauds": FRAUDS, "customer_frauds": FRAUDS,
    "merchant": SHARED_ENTITY, "device": SHARED_ENTITY, "ip": SHARED_ENTITY,
}  # fmt: skip
_RINGS = ("recent", "old_t", "old_amount", "old_count", "old_high")


def _f(
    name: str,
    entity: Entity,
    unit: str,
    text: str,
    *,
    version: int = 1,
    source: Source | None = None,
    reads: tuple[str, ...] = (),
    window_s: int = 0,
    tile_s: int = 0,
    label_delay_s: int = 0,
    default: float = NAN,
    uses_labels: bool = False,
    needs_transaction: bool = True,
    truncation: Truncation | None = None,
    known_late_s: int | None = None,
    error: str = texts.EXACT,
    lateness: str = texts.PLACED,
) -> Feature:
    """``source``: by default the entity's own profile. Facts that follow from other facts are filled in."""
    source = source or entity
    rule: Truncation = "payments" if source in ("card", "customer") else "look_back"
    # a delayed window ends at a tile boundary, so it begins up to one tile earlier
    look_back_s = window_s + label_delay_s + (tile_s if label_delay_s else 0) or None
    if source == "transaction":
        rule, look_back_s = "nothing", 0
    return Feature(
        name=name, version=version, entity=entity, source=source, unit=unit, window_s=window_s, tile_s=tile_s,
        label_delay_s=label_delay_s, look_back_s=look_back_s, default=default, uses_labels=uses_labels,
        needs_transaction=needs_transaction, truncation=truncation or rule, known_late_s=known_late_s,
        exact=error == texts.EXACT, error=error, lateness=lateness, reads=reads,
        state_bytes=sum(_PROFILES[source][field].itemsize for field in reads),
        reason_code=name.upper(), reason_text=text,
    )  # fmt: skip


def _transaction() -> list[Feature]:
    said = [
        ("amount", MINOR_UNITS, "amount {money}"),
        ("log_amount", "ln(1 + minor units)", "unusual amount"),
        ("round_amount", "0/1", "a round amount"),
        ("hour", "hour UTC", "at {value:.0f} o'clock UTC"),
        ("weekday", "0 = Monday", "on this day of the week"),
        ("night", "0/1", "at night"),
        ("weekend", "0/1", "at a weekend"),
        ("channel", "0 pos, 1 ecom, 2 atm, 3 transfer, 4 moto", "through this channel"),
        ("mcc", "merchant category code", "in merchant category {value:.0f}"),
        ("currency_code", "three letters as a number in base 26", "in this currency"),
    ]
    return [_f(name, "transaction", unit, text, lateness=texts.ALONE) for name, unit, text in said]


def _payer(entity: Entity, frauds: Source, noun: str) -> list[Feature]:
    """Entries of a card or a customer: both profiles keep the last payments, both lists have the same order."""
    # statistic, unit, reason, error, whether the value needs more of the payment than its time
    windows = [
        ("count", "transactions", f"{{value:.0f}} payments of the {noun} in the last {{window}}", texts.GROUPS, False),
        ("sum", MINOR_UNITS, f"{{money}} spent by the {noun} in the last {{window}}", texts.GROUPS, True),
        ("mean", MINOR_UNITS, f"mean payment of the {noun} in the last {{window}} is {{money}}", texts.GROUPS, True),
        ("max", MINOR_UNITS, f"largest payment of the {noun} in the last {{window}} is {{money}}", texts.GROUP_MEANS, True),
        ("std", MINOR_UNITS, f"the {noun}'s payments of the last {{window}} differ by {{money}}", texts.GROUP_MEANS + texts.ROUNDED, True),
    ]  # fmt: skip
    out = [
        _f(f"{entity}_{statistic}_{label}", entity, unit, text.replace("{window}", _NAMED[label]), window_s=seconds, reads=_RINGS,
           needs_transaction=own, truncation="spread" if statistic == "std" else None, error=error, lateness=texts.PLACED_IN_LISTS)
        for statistic, unit, text, error, own in windows for label, seconds in WINDOWS.items()
    ]  # fmt: skip
    for plural, error in (
        ("merchants", texts.HASHED.format(odds=65536)),
        ("countries", texts.COUNTRIES),
        ("devices", texts.HASHED.format(odds=255)),
    ):
        out += [
            _f(f"{entity}_{plural}_{label}", entity, plural, f"{{value:.0f}} different {plural} in the last {_NAMED[label]}",
               window_s=WINDOWS[label], reads=("recent",), error=error, lateness=texts.PLACED_IN_LISTS)
            for label in ("1h", "24h", "7d")
        ]  # fmt: skip
    out += [
        _f(f"{entity}_amount_zscore_30d", entity, "standard deviations", f"amount is {{value:.1f}} standard deviations from the {noun}'s own",
           window_s=30 * DAY, reads=_RINGS, truncation="spread", error=texts.GROUP_MEANS + texts.ROUNDED, lateness=texts.PLACED_IN_LISTS),
        _f(f"{entity}_amount_ratio_mean_30d", entity, "ratio", f"{{value:.1f}} times the {noun}'s mean payment",
           window_s=30 * DAY, reads=_RINGS, error=texts.GROUPS, lateness=texts.PLACED_IN_LISTS),
        _f(f"{entity}_amount_ratio_max_30d", entity, "ratio", f"{{value:.1f}} times the {noun}'s largest payment",
           window_s=30 * DAY, reads=_RINGS, error=texts.GROUP_MEANS, lateness=texts.PLACED_IN_LISTS),
        _f(f"{entity}_seconds_since_last", entity, "seconds", "{value:.0f} seconds after the previous payment", needs_transaction=False,
           reads=(*_RINGS, "last_ms"), truncation="last_payment", error=texts.SINCE_LAST, lateness=texts.PLACED_IN_LISTS),
        _f(f"{entity}_small_run_1h", entity, "transactions", "{value:.0f} small payments in the last hour",
           window_s=HOUR, reads=("recent",), error=texts.NEWEST_40, lateness=texts.PLACED_IN_LISTS),
        _f(f"{entity}_new_merchant", entity, "0/1", f"first payment of the {noun} at this merchant", reads=("recent", "merchants"),
           error=texts.FIRST_MERCHANTS.format(others=15, plural="merchants"), lateness=texts.PLACED_IN_LISTS),
        _f(f"{entity}_new_device", entity, "0/1", f"first payment of the {noun} from this device", reads=("devices",),
           error=texts.FIRSTS.format(others=5, plural="devices"), lateness=texts.PLACED_IN_LISTS),
        _f(f"{entity}_new_country", entity, "0/1", f"first payment of the {noun} in this country", reads=("countries",),
           error=texts.FIRSTS.format(others=3, plural="countries"), lateness=texts.PLACED_IN_LISTS),
        _f(f"{entity}_speed_kmh", entity, "km/h", f"the {noun} would have travelled at {{value:.0f}} km/h",
           reads=("place_ms", "place_lat", "place_lon"), known_late_s=0, error=texts.PLACES, lateness=texts.IN_ORDER),
        _f(f"{entity}_home_distance_km", entity, "km", f"{{value:.0f}} km from the {noun}'s usual place",
           reads=("home_lat", "home_lon"), known_late_s=0, error=texts.USUAL_PLACE, lateness=texts.IN_ORDER),
        _f(f"{entity}_cross_border", entity, "0/1", f"outside the {noun}'s usual country",
           reads=("home_country", "home_votes"), known_late_s=0, error=texts.USUAL_COUNTRY, lateness=texts.IN_ORDER),
        _f(f"{entity}_hour_share", entity, "share", f"{{value:.0%}} of the {noun}'s payments fall in this hour of the day",
           needs_transaction=False, reads=("hours",), known_late_s=0, error=texts.HALVED, lateness=texts.IN_ORDER_BUT_COUNTED),
        _f(f"{entity}_channel_share", entity, "share", f"{{value:.0%}} of the {noun}'s payments go through this channel",
           reads=("hours", "channels"), known_late_s=0, error=texts.HALVED, lateness=texts.IN_ORDER_BUT_COUNTED),
        _f(f"{entity}_mcc_share", entity, "share", f"{{value:.0%}} of the {noun}'s payments are in this merchant category",
           reads=("hours", "category", "category_count"), known_late_s=0, error=texts.CATEGORIES, lateness=texts.IN_ORDER_BUT_COUNTED),
        _f(f"{entity}_age_days", entity, "days", f"the {noun} has been known for {{value:.0f}} days", needs_transaction=False, reads=("first_ms",)),
        _tiled(f"{entity}_frauds_30d", entity, "frauds", "{value:.0f} reported frauds in 30 days", "a day", 30 * DAY, source=frauds,
               kept_s=(FRAUD_DAYS - 30) * DAY, uses_labels=True, reads=("day_fraud",), of=" fraud"),
        _tiled(f"{entity}_declined_1h", entity, "transactions", "{value:.0f} payments declined in the last hour", "5 minutes", HOUR,
               source=frauds, kept_s=(DECLINED_TILES - 12) * 5 * MINUTE, reads=("declined",), of=" decline"),
    ]  # fmt: skip
    return out


#: tile of a shared entity -> its seconds, number of tiles kept, prefix of its fields
_TILED = {
    "a minute": (MINUTE, MINUTE_TILES, "minute"), "5 minutes": (5 * MINUTE, FIVE_TILES, "five"),
    "an hour": (HOUR, HOUR_TILES, "hour"), "8 hours": (8 * HOUR, THIRD_TILES, "third"), "a day": (DAY, DAY_TILES, "day"),
}  # fmt: skip
_COUNTED_BY = {"10m": "a minute", "1h": "5 minutes", "24h": "an hour", "7d": "8 hours", "30d": "8 hours"}
_SUMMED_BY = {**_COUNTED_BY, "7d": "a day", "30d": "a day"}
#: window name -> seconds behind the newest payment up to which distinct cards are known
_CARDS_KEPT = {"10m": 10 * MINUTE, "1h": HOUR, "24h": DAY, "7d": DAY}


def _tiled(
    name: str, entity: Entity, unit: str, text: str, tile: str, window_s: int, *, reads: tuple[str, ...],
    kept_s: int | None = None, source: Source | None = None, default: float = 0, uses_labels: bool = False,
    needs_transaction: bool = False, more: str = "", of: str = "",
) -> Feature:  # fmt: skip
    """An entry whose window consists of whole tiles. ``kept_s``: how far behind the newest tile a window is still complete."""
    size, many, _ = _TILED[tile]
    kept_s = many * size - window_s if kept_s is None else kept_s
    return _f(
        name, entity, unit, text, source=source, reads=reads, window_s=window_s, tile_s=size, default=default,
        uses_labels=uses_labels, needs_transaction=needs_transaction, known_late_s=kept_s,
        error=texts.TILES.format(tile=tile) + more, lateness=texts.KEPT.format(kept=span(kept_s), of=of),
    )  # fmt: skip


def _delayed(entity: Entity, noun: str, label: str, window_s: int) -> list[Feature]:
    """Count of payments in a window that ended LABEL_DELAY_S ago, and their share of frauds."""
    size, many, _ = _TILED["8 hours"]
    # for the longest window no spare tile is kept: one tile late it is still known, but without its first tile
    spare_s = many * size - window_s - LABEL_DELAY_S - size
    error = texts.DELAYED.format(tile="8 hours") + ("" if spare_s else texts.FIRST_TILE_LACKING)
    kept_s = max(spare_s, size)
    lateness, of_old = (
        texts.KEPT.format(kept=span(kept_s), of=""),
        f"in the {_NAMED[label]} that ended a week ago",
    )
    return [
        _f(f"{entity}_count_{label}_delayed", entity, "transactions", f"{{value:.0f}} payments {noun} {of_old}",
           window_s=window_s, tile_s=size, label_delay_s=LABEL_DELAY_S, default=0, needs_transaction=False, known_late_s=kept_s,
           reads=("third_count",), error=error, lateness=lateness),
        _f(f"{entity}_fraud_rate_{label}", entity, "share", f"{{value:.1%}} of payments {noun} were fraud {of_old}",
           window_s=window_s, tile_s=size, label_delay_s=LABEL_DELAY_S, default=0, uses_labels=True, needs_transaction=False,
           known_late_s=kept_s, reads=("third_count", "third_fraud"), error=error, lateness=lateness),
    ]  # fmt: skip


def _shared_entity(entity: Entity, noun: str) -> list[Feature]:
    """Entries of a merchant, device or address, which many cards share; all three lists have the same order."""
    out = [
        _tiled(f"{entity}_count_{label}", entity, "transactions", f"{{value:.0f}} payments {noun} in the last {_NAMED[label]}",
               tile, WINDOWS[label], reads=(f"{_TILED[tile][2]}_count",))
        for label, tile in _COUNTED_BY.items()
    ]  # fmt: skip
    out += [
        _tiled(f"{entity}_sum_{label}", entity, MINOR_UNITS, f"{{money}} paid {noun} in the last {_NAMED[label]}",
               _SUMMED_BY[label], WINDOWS[label], reads=(f"{_TILED[_SUMMED_BY[label]][2]}_sum",))
        for label in ("10m", "1h", "24h", "7d")
    ]  # fmt: skip
    out += [
        _f(f"{entity}_cards_{label}", entity, "cards", f"{{value:.0f}} different cards {noun} in the last {_NAMED[label]}",
           window_s=WINDOWS[label], tile_s=MINUTE, default=0, needs_transaction=False, known_late_s=kept_s, reads=("card_minute",),
           error=texts.SKETCH_WEEK if label == "7d" else texts.SKETCH, lateness=texts.CARDS_KEPT.format(kept=span(kept_s)))
        for label, kept_s in _CARDS_KEPT.items()
    ]  # fmt: skip
    month = ("day_sum", "day_count")
    out += [
        _tiled(f"{entity}_mean_30d", entity, MINOR_UNITS, f"mean payment {noun} is {{money}}", "a day", 30 * DAY,
               default=NAN, reads=month),
        _tiled(f"{entity}_amount_ratio_mean_30d", entity, "ratio", f"{{value:.1f}} times the mean payment {noun}", "a day", 30 * DAY,
               default=NAN, needs_transaction=True, reads=month, more=texts.ROUNDED),
        _f(f"{entity}_burst_1h", entity, "ratio", f"{{value:.1f}} times the usual number of payments an hour {noun}",
           window_s=7 * DAY, tile_s=5 * MINUTE, default=0, needs_transaction=False, known_late_s=FIVE_TILES * 5 * MINUTE - HOUR,
           reads=("five_count", "third_count"), error=texts.BURST.format(entity=entity),
           lateness=texts.KEPT.format(kept=span(FIVE_TILES * 5 * MINUTE - HOUR), of="")),
    ]  # fmt: skip
    for label, seconds in (("1d", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY)):
        out += _delayed(entity, noun, label, seconds)
    return out


FEATURES: tuple[Feature, ...] = tuple(
    _transaction() + _payer("card", "card_frauds", "card") + _payer("customer", "customer_frauds", "customer")
    + _shared_entity("merchant", "at this merchant") + _shared_entity("device", "from this device") + _shared_entity("ip", "from this address")
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}
WIDTH = len(FEATURES)
#: entity -> index of its first entry in a row; the entries of an entity are adjacent
FIRST_COLUMN = {entity: [feature.entity for feature in FEATURES].index(entity) for entity in get_args(Entity)}
#: seconds before a payment of the oldest event that still counts in some window
LONGEST_LOOK_BACK_S = max(feature.look_back_s or 0 for feature in FEATURES)


def columns_read_from(source: Source) -> npt.NDArray[np.int64]:
    """Indices of the entries that are read from one kind of profile, ascending; int64 (n,)."""
    return np.flatnonzero([feature.source == source for feature in FEATURES])


def catalogue_hash(features: tuple[Feature, ...] = FEATURES) -> str:
    """16 hex digits over the entries' identities and their order, without texts."""
    text = "\n".join(f"{feature.name} {feature.definition}" for feature in features)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


CATALOGUE_HASH = catalogue_hash()
