"""What the catalogue says an entry is read from: so many bytes, and nothing else of the profile moves it."""

from __future__ import annotations

import numpy as np
import pytest

from features.catalogue import FEATURES, INDEX, WIDTH, Feature
from features.kernels.columns import PAYMENT, columns_of
from features.kernels.payer import APPLY, CARD_COLUMNS, CUSTOMER_COLUMNS, READ, payer_features
from features.kernels.shared_entity import (
    DECLINED,
    LABEL,
    PAID,
    apply_frauds,
    apply_items,
    fraud_features,
    shared_entity_features,
)
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from tests.support.oracle import HOUR, MINUTE, Event

START = 1_700_000_000_000
RINGS = ("recent", "old_t", "old_amount", "old_count", "old_high")
#: numbers that say where in a profile something is, or of when
WHERE = {
    "offset", "base_ms", "n", "old_n", "old_first", "places", "last_ms", "minute", "five", "hour", "third", "day", "unused",
}  # fmt: skip
HEADER = {
    "seconds_since_last": (*RINGS, "last_ms"), "small_run_1h": ("recent",), "new_merchant": ("recent", "merchants"),
    "new_device": ("devices",), "new_country": ("countries",), "speed_kmh": ("place_ms", "place_lat", "place_lon"),
    "home_distance_km": ("home_lat", "home_lon"), "cross_border": ("home_country", "home_votes"),
    "hour_share": ("hours",), "channel_share": ("hours", "channels"), "mcc_share": ("hours", "category", "category_count"),
    "age_days": ("first_ms",), "frauds_30d": ("day_fraud",), "declined_1h": ("declined",),
}  # fmt: skip
OF_SEVERAL = {
    "mean_30d": ("day_sum", "day_count"), "amount_ratio_mean_30d": ("day_sum", "day_count"),
    "burst_1h": ("five_count", "third_count"),
}  # fmt: skip
TILE = {"10m": "minute", "1h": "five", "24h": "hour", "7d": "third", "30d": "third"}


def fields_of(feature: Feature) -> tuple[str, ...]:
    name = feature.name.removeprefix(f"{feature.entity}_")
    what, _, window = name.partition("_")
    if feature.entity in ("card", "customer"):
        if what in ("merchants", "countries", "devices"):
            return ("recent",)
        return HEADER.get(name, RINGS)
    if what == "cards":
        return ("card_minute",)
    if name.endswith("_delayed"):
        return ("third_count",)
    if what == "fraud":
        return ("third_count", "third_fraud")
    if name in OF_SEVERAL:
        return OF_SEVERAL[name]
    return (f"{'day' if name == 'sum_7d' else TILE[window]}_{what}",)


def profile_of(feature: Feature) -> np.dtype:
    if feature.entity in ("merchant", "device", "ip"):
        return SHARED_ENTITY
    return FRAUDS if feature.uses_labels or "declined" in feature.name else PAYER


def some_fields() -> list[Feature]:
    return [f for f in FEATURES if f.entity != "transaction"]


@pytest.mark.parametrize("feature", some_fields(), ids=lambda f: f.name)
def test_state_bytes_are_those_of_the_fields(feature: Feature) -> None:
    assert feature.state_bytes == sum(profile_of(feature)[field].itemsize for field in fields_of(feature))


def test_the_rings_of_a_payer() -> None:
    (entry,) = [f for f in FEATURES if f.name == "card_count_1m"]
    assert entry.state_bytes == 40 * 16 + 90 * 11 == 1630


def payers() -> np.ndarray:
    arena = new_arena(PAYER, 1)
    events = [payment(i) for i in range(150)]
    unused = np.empty((len(events), WIDTH), dtype=np.float32)
    columns = columns_of(events, [e.event_ms for e in events], [-1] * len(events))
    slots, seen = np.zeros(len(events), np.int64), np.zeros(len(events), np.uint8)
    payer_features(columns, slots, arena, APPLY, CARD_COLUMNS, unused, seen)
    return arena


def payment(i: int) -> Event:
    """Every twenty minutes; the last ones within a minute, so that every window holds some. Merchants of the first come no more."""
    moment = START + (i * 20 * MINUTE if i < 140 else 140 * 20 * MINUTE + (i - 140) ** 2 * 500)
    return Event(
        f"t-{i}", "c", "m-first" if i in (0, 150) else f"m-{i % 5}", moment, 100 + i, device_id=f"d-{i % 3}",
        country="DE" if i % 3 == 1 else "FR", channel="pos", mcc=str(5400 + i % 3), latitude=48.0 + i % 2, longitude=2.0,
    )  # fmt: skip


def shared_entities() -> np.ndarray:
    arena = new_arena(SHARED_ENTITY, 1)
    n = 400
    moments = START + np.sort(
        np.concatenate([np.arange(n // 2) * 5 * HOUR, 1_000 * HOUR - np.arange(n // 2) * MINUTE])
    )
    zeros = np.zeros(n, np.int64)
    for kind in (PAID, LABEL):
        apply_items(
            zeros,
            zeros - 1,
            zeros + kind,
            moments,
            zeros + 100,
            np.arange(n, dtype=np.uint32),
            zeros + 1,
            arena,
        )
    return arena


def frauds() -> np.ndarray:
    arena = new_arena(FRAUDS, 1)
    one = np.zeros(1, np.int64)
    for kind in (LABEL, DECLINED):
        apply_frauds(one, one - 1, one + kind, one + START + 1_000 * HOUR, one + 1, arena)
    return arena


def read(arena: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """All entries that are read from such a profile, float32 (WIDTH,)."""
    row = np.full((1, WIDTH), np.nan, dtype=np.float32)
    row[0, INDEX["amount"]] = 100
    if dtype is PAYER:
        last = payment(150)
        columns = columns_of([last], [last.event_ms], [-1])
        for first in (CARD_COLUMNS, CUSTOMER_COLUMNS):
            payer_features(columns, np.zeros(1, np.int64), arena, READ, first, row, np.zeros(1, np.uint8))
        return row[0]
    moment = np.zeros(1, dtype=PAYMENT)
    moment["event_ms"] = START + 1_000 * HOUR
    if dtype is SHARED_ENTITY:
        for kind in range(3):
            slots = np.full((1, 3), -1)
            slots[0, kind] = 0
            shared_entity_features(moment, slots, arena, row)
    else:
        fraud_features(moment, np.zeros((1, 2), np.int64), arena, row)
    return row[0]


@pytest.mark.parametrize("dtype", [PAYER, SHARED_ENTITY, FRAUDS], ids=["payer", "shared_entity", "frauds"])
def test_what_an_entry_is_not_read_from_does_not_move_it(dtype: np.dtype) -> None:
    arena = {PAYER: payers, SHARED_ENTITY: shared_entities, FRAUDS: frauds}[dtype]()
    before = read(arena, dtype)
    moved_by_own = set()
    for field in set(dtype.names) - WHERE:
        for fill in (1, 255):
            changed = arena.copy()
            # bytes that make whatever is read another value; no count may be 0
            changed.view(np.uint8).reshape(len(changed), -1)[:, _bytes_of(dtype, field)] = fill
            after = read(changed, dtype)
            for feature in some_fields():
                column = INDEX[feature.name]
                if profile_of(feature) is not dtype:
                    continue
                same = before[column : column + 1].tobytes() == after[column : column + 1].tobytes()
                if field not in fields_of(feature):
                    assert same, (feature.name, field)
                elif not same:
                    moved_by_own.add((feature.name, field))
    entries = [f for f in some_fields() if profile_of(f) is dtype]
    assert {field for _, field in moved_by_own} == {field for f in entries for field in fields_of(f)} - WHERE


def _bytes_of(dtype: np.dtype, field: str) -> slice:
    kind, offset = dtype.fields[field][:2]
    return slice(offset, offset + kind.itemsize)
