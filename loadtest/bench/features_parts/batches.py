"""Batches for the kernels: columns, slots of each row, arenas; and the processing of one batch as in a replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from features.catalogue import WIDTH
from features.engine import Arena, Places, Profiles, Slots, fill_features
from features.kernels.columns import Payments
from features.kernels.payer import apply_payments
from features.kernels.shared_entity import PAID, apply_items
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY

BATCH = 256


@dataclass(frozen=True)
class Batch:
    """One batch of n rows in which every identifier is present, and the slots that it uses.

    ``shared_entities`` (n, 3): merchant, device, ip; ``frauds`` (n, 2): card, customer; ``card_hashes`` uint32 (n,).
    ``items``: arguments of ``apply_items`` per kind; in production they come from the topic `entities`.
    """

    columns: Payments
    cards: Slots
    customers: Slots
    shared_entities: Slots
    frauds: Slots
    card_hashes: npt.NDArray[np.uint32]
    items: list[tuple[Any, ...]] = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.columns)
        event_ms, amounts = (np.ascontiguousarray(self.columns[name]) for name in ("event_ms", "amount"))
        none, paid, zero = np.full(n, -1), np.full(n, PAID), np.zeros(n, np.int64)
        items = [
            (np.ascontiguousarray(slots), none, paid, event_ms, amounts, self.card_hashes, zero)
            for slots in self.shared_entities.T
        ]
        object.__setattr__(self, "items", items)


def do_batch(batch: Batch, state: Profiles) -> npt.NDArray[np.float32]:
    """Compute all entries of all entities, then apply the batch to all profiles: the kernels' work for one batch only."""
    n = len(batch.columns)
    out = np.full((n, WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(n, dtype=np.uint8)
    places = Places(batch.cards, batch.customers, batch.shared_entities, batch.frauds)
    fill_features(batch.columns, places, state, out, seen, apply=True)
    apply_payments(batch.columns, batch.customers, state.customers)
    for items in batch.items:
        apply_items(*items, state.shared_entities)
    return out


def gathered(batch: Batch, state: Profiles) -> tuple[Batch, Profiles]:
    """The batch with arenas that hold only its own profiles, as after a read of the batch from Redis."""
    cards, card_slots = _own(batch.cards, state.cards, PAYER)
    customers, customer_slots = _own(batch.customers, state.customers, PAYER)
    shared_entities, shared_entity_slots = _own(batch.shared_entities, state.shared_entities, SHARED_ENTITY)
    frauds, fraud_slots = _own(batch.frauds, state.frauds, FRAUDS)
    small = Batch(
        batch.columns, card_slots, customer_slots, shared_entity_slots, fraud_slots, batch.card_hashes
    )
    return small, Profiles(cards, customers, shared_entities, frauds)


def _own(slots: Slots, arena: Arena, dtype: np.dtype) -> tuple[Arena, Slots]:
    used, places = np.unique(slots, return_inverse=True)
    own = np.zeros(max(2, len(used)), dtype=dtype)
    own[: len(used)] = arena[used]
    return own, np.ascontiguousarray(places.reshape(slots.shape), dtype=np.int64)
