"""Profiles of entities with a past, made by the kernels: one record of each kind."""

from __future__ import annotations

import numpy as np

from features.catalogue import WIDTH
from features.kernels.columns import columns_of
from features.kernels.payer import APPLY, CARD_COLUMNS, payer_features
from features.kernels.shared_entity import DECLINED, LABEL, PAID, apply_frauds, apply_items
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from tests.support.oracle import HOUR, MINUTE, Event

START = 1_700_000_000_000


def busy_payer() -> np.ndarray:
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


def busy_shared_entity() -> np.ndarray:
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


def some_frauds() -> np.ndarray:
    arena = new_arena(FRAUDS, 1)
    one = np.zeros(1, np.int64)
    for kind in (LABEL, DECLINED):
        apply_frauds(one, one - 1, one + kind, one + START + 1_000 * HOUR, one + 1, arena)
    return arena
