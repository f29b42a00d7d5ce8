"""What the catalogue says an entry is read from: so many bytes, and nothing else of the profile moves it."""

from __future__ import annotations

import numpy as np
import pytest

from features.catalogue import FEATURES, INDEX, WIDTH
from features.feature import Feature
from features.kernels.columns import PAYMENT, columns_of
from features.kernels.payer import CARD_COLUMNS, CUSTOMER_COLUMNS, READ, payer_features
from features.kernels.shared_entity import fraud_features, shared_entity_features
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY
from tests.support.oracle import HOUR
from tests.support.profile_samples import START, busy_payer, busy_shared_entity, payment, some_frauds

#: numbers that say where in a profile something is, or of when
WHERE = {
    "offset", "base_ms", "n", "old_n", "old_first", "places", "last_ms", "minute", "five", "hour", "third", "day", "unused",
}  # fmt: skip
PROFILES = {
    "card": PAYER, "customer": PAYER, "card_frauds": FRAUDS, "customer_frauds": FRAUDS,
    "merchant": SHARED_ENTITY, "device": SHARED_ENTITY, "ip": SHARED_ENTITY,
}  # fmt: skip


def some_fields() -> list[Feature]:
    return [f for f in FEATURES if f.entity != "transaction"]


@pytest.mark.parametrize("feature", some_fields(), ids=lambda f: f.name)
def test_state_bytes_are_those_of_the_fields(feature: Feature) -> None:
    assert feature.state_bytes == sum(PROFILES[feature.source][field].itemsize for field in feature.reads)


def test_the_rings_of_a_payer() -> None:
    (entry,) = [f for f in FEATURES if f.name == "card_count_1m"]
    assert entry.state_bytes == 40 * 16 + 90 * 11 == 1630


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
    arena = {PAYER: busy_payer, SHARED_ENTITY: busy_shared_entity, FRAUDS: some_frauds}[dtype]()
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
                if PROFILES[feature.source] is not dtype:
                    continue
                same = before[column : column + 1].tobytes() == after[column : column + 1].tobytes()
                if field not in feature.reads:
                    assert same, (feature.name, field)
                elif not same:
                    moved_by_own.add((feature.name, field))
    entries = [f for f in some_fields() if PROFILES[f.source] is dtype]
    assert {field for _, field in moved_by_own} == {field for f in entries for field in f.reads} - WHERE


def _bytes_of(dtype: np.dtype, field: str) -> slice:
    kind, offset = dtype.fields[field][:2]
    return slice(offset, offset + kind.itemsize)
