"""Payments of a long history, and the profiles that they leave."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.kernels.columns import PAYMENT, text_hash
from features.kernels.payer import apply_payments
from features.kernels.shared_entity import PAID, apply_items
from features.profile.records import PAYER, SHARED_ENTITY, new_arena
from tests.support.parity_world import APPENDED_MS

IDENTIFIERS = {"merchant": "m-1", "device": "d-1", "ip": "203.0.113.7", "customer": "cu-1"}
DAY_MS = 86_400_000
NOW_MS = APPENDED_MS - DAY_MS


def payments_of(count: int) -> Any:
    """So many payments, evenly over 31 days, no two alike; the newest just now, so that the day of all is the same."""
    out = np.zeros(count, dtype=PAYMENT)
    out["event_ms"] = NOW_MS - 1 - (count - 1 - np.arange(count)) * (31 * DAY_MS // count)
    out["offset"] = -1
    out["amount"] = 100 + np.arange(count) % 90_000
    out["id_hash"] = np.arange(count) + 1
    out["merchant_hash"] = text_hash(IDENTIFIERS["merchant"]) + np.arange(count) % 30
    out["country"] = 1 + np.arange(count) % 5
    return out


def profiles_after(payments: Any) -> tuple[Any, Any]:
    """Arenas whose first profile is that of a payer, and of a shared entity, after these payments."""
    slots = np.zeros(len(payments), dtype=np.int64)
    payer, shared_entity = new_arena(PAYER, 1), new_arena(SHARED_ENTITY, 1)
    apply_payments(payments, slots, payer)
    apply_items(
        slots, slots - 1, slots + PAID, np.ascontiguousarray(payments["event_ms"]),
        np.ascontiguousarray(payments["amount"]), np.ascontiguousarray(payments["id_hash"]), slots, shared_entity,
    )  # fmt: skip
    return payer, shared_entity
