"""Compile (or load from cache) every kernel with the types of the live path, before the first transaction waits for it.

``python -m features.online.warm`` fills the cache: set-up runs it once for a checkout.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from features.columns import columns_of
from features.entity_kernel import apply_items
from features.online.gather import Gather
from features.profiles import entity_state


@dataclass(frozen=True)
class _Example:
    transaction_id: str = "warm"
    card_id: str = "warm"
    merchant_id: str = "warm"
    amount_minor: int = 1
    device_id: str | None = "warm"
    ip: str | None = "warm"
    customer_id: str | None = "warm"
    mcc: str | None = "5411"
    channel: str | None = "pos"
    country: str | None = "FR"
    latitude: float | None = 1.0
    longitude: float | None = 1.0


def warm_kernels() -> float:
    """Run each kernel once on made-up rows; returns the seconds that it took."""
    started = time.monotonic()
    batch = [_Example(), _Example(transaction_id="again")]
    gather = Gather(batch)
    gather.compute(columns_of(batch, [1_700_000_000_000, 1_700_000_001_000], [0, 1]), apply=True)
    apply_items(
        np.array([0, 1]),
        np.array([0, 0]),
        np.array([False, True]),
        np.array([1_700_000_000_000, 1_700_000_000_000]),
        np.array([1, 0]),
        np.array([1, 0], dtype=np.uint32),
        np.array([0, 1]),
        entity_state(gather.entities),
    )
    return time.monotonic() - started


if __name__ == "__main__":
    print(f"feature kernels ready in {warm_kernels():.1f} s")
