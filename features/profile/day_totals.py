"""What Feast's users read beside a profile: payments and their sum of the 24 hours before its newest one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from features.kernels.shared_entity import DAY_MS
from features.profile.records import HOUR_TILES, OLD, PAYER

Counts = npt.NDArray[np.int64]


def counts_24h(arena: npt.NDArray[np.void], slots: Counts) -> Counts:
    """Payments of the 24 hours before each profile's newest one, int64 (n,); of an arena of PAYER or SHARED_ENTITY."""
    if arena.dtype == PAYER:
        return sums_24h(arena, slots)[0]
    counts = np.empty(len(slots), dtype=np.int64)
    _count_hours(arena, slots, counts)
    return counts


def sums_24h(payers: npt.NDArray[np.void], slots: Counts) -> tuple[Counts, Counts]:
    """As ``counts_24h``, with the sum in minor units, int64 (n,) each; of an arena of PAYER."""
    counts, sums = np.empty(len(slots), dtype=np.int64), np.empty(len(slots), dtype=np.int64)
    _sum_payments(payers, slots, counts, sums)
    return counts, sums


@njit(cache=True, nogil=True)
def _count_hours(arena: Any, slots: Any, counts: Any) -> None:
    for i in range(slots.shape[0]):
        p = arena[slots[i]]
        # the ring of hours holds one tile more than a day
        oldest = (np.int64(p.hour) - HOUR_TILES + 1) % HOUR_TILES
        total = -np.int64(p.hour_count[oldest])
        for k in range(HOUR_TILES):
            total += p.hour_count[k]
        counts[i] = total


@njit(cache=True, nogil=True)
def _sum_payments(arena: Any, slots: Any, counts: Any, sums: Any) -> None:
    for i in range(slots.shape[0]):
        p = arena[slots[i]]
        after = p.last_ms - p.base_ms - DAY_MS
        count, total = np.int64(0), np.int64(0)
        for j in range(p.n):
            if np.int64(p.recent[j].t) > after:
                count += 1
                total += np.int64(p.recent[j].amount) + (np.int64(p.recent[j].amount_high) << 32)
        for j in range(p.old_n):
            k = (np.int64(p.old_first) + j) % OLD
            if np.int64(p.old_t[k]) > after:
                count += np.int64(p.old_count[k])
                total += np.int64(p.old_amount[k]) + (np.int64(p.old_high[k]) << 32)
        counts[i] = count
        sums[i] = total
