"""Compiles (or loads from cache) every kernel with the types of the live path, so that no transaction has to wait for it.

``python -m features.store.warm`` fills the cache; set-up runs it once per checkout.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from features.engine import Places, Profiles, computed_beside
from features.kernels.columns import columns_of
from features.kernels.payer import apply_payments
from features.kernels.shared_entity import DECLINED, LABEL, PAID, apply_frauds, apply_items
from features.profile.codec import encode_profiles, read_profiles
from features.store.commands import pack_mset
from features.store.partitions import names_of, text_hashes
from features.store.profiles.batch import Gather
from features.store.profiles.slot_table import FIRST_SIZE, SlotTable
from features.store.views import CARD_FRAUDS, CARD_STATE


@dataclass(frozen=True)
class _Example:
    transaction_id: str = "warm"
    tenant: str = "default"
    card_id: str = "warm"
    merchant_id: str = "warm"
    amount_minor: int = 1
    currency: str = "EUR"
    device_id: str | None = "warm"
    ip: str | None = "warm"
    customer_id: str | None = "warm"
    mcc: str | None = "5411"
    channel: str | None = "pos"
    country: str | None = "FR"
    latitude: float | None = 1.0
    longitude: float | None = 1.0


def warm_kernels() -> float:
    """Run each kernel once on made-up rows; returns the elapsed seconds."""
    started = time.monotonic()
    batch = [_Example(), _Example(transaction_id="again")]
    gather = Gather(batch)
    columns = columns_of(batch, [1_700_000_000_000, 1_700_000_001_000], [0, 1])
    gather.compute(columns, apply=True)
    both = np.array([0, 1])
    pairs = np.zeros((2, 2), dtype=np.int64)
    places = Places(np.zeros_like(both), np.zeros_like(both), np.zeros((2, 3), dtype=np.int64), pairs)
    computed_beside(
        columns, places, Profiles(gather.cards, gather.customers, gather.shared_entities, gather.frauds)
    )
    moments = both + 1_700_000_000_000
    apply_payments(columns, both, gather.customers)
    apply_items(
        both, both, np.array([PAID, LABEL]), moments, both, both.astype(np.uint32), both,
        gather.shared_entities,
    )  # fmt: skip
    apply_frauds(both, both, np.array([DECLINED, LABEL]), moments, both, gather.frauds)
    for arena in (gather.cards, gather.shared_entities, gather.frauds):
        read_profiles(arena, both, encode_profiles(arena, both, 0))
    for view, arena in ((CARD_FRAUDS, gather.frauds), (CARD_STATE, gather.cards)):
        pack_mset(view, ["a", "b"], arena, both, 1, 0)
    gather.commands(1)
    text_hashes(names_of(["warm"]))
    # more than it has room for at first: growing is a kernel too
    table, names = SlotTable(), names_of([str(i) for i in range(FIRST_SIZE)])
    _, hashes = table.find(names.text, names.ends)
    for i in range(FIRST_SIZE):
        table.add(hashes[i], i)
    return time.monotonic() - started


if __name__ == "__main__":
    print(f"feature kernels ready in {warm_kernels():.1f} s")
