"""Millions of warm profiles on a machine without memory for all: address space for all, memory for those that are used.

A batch uses only its own profiles, scattered over the arena. So the arena is a mapping that the operating system fills page by page,
and the profiles that will be used get copies of warm ones before the measurement. Cache and TLB misses are those of the full size;
pages are small (4 KiB).
"""

from __future__ import annotations

import mmap

import numpy as np

from features.engine import Arena, Profiles, Slots
from loadtest.bench.features_parts.batches import Batch

#: Linux' flag, which Python's mmap names from 3.13 on
MAP_NORESERVE = 0x4000


def scattered(batches: list[Batch], warm: Profiles, entities: int, seed: int) -> tuple[list[Batch], Profiles]:
    """The same payments by entities drawn evenly from ``entities`` of each kind (merchants: a twentieth)."""
    rng = np.random.default_rng([seed, entities])
    merchants = max(2, entities // 20)
    state = Profiles(
        _mapped(warm.cards.dtype, entities), _mapped(warm.customers.dtype, entities),
        _mapped(warm.shared_entities.dtype, merchants + 2 * entities), _mapped(warm.frauds.dtype, 2 * entities),
    )  # fmt: skip
    out = []
    for batch in batches:
        n = len(batch.columns)
        cards, customers = rng.integers(0, entities, (2, n))
        shared_entities = np.column_stack(
            [
                rng.integers(0, merchants, n),
                rng.integers(merchants, merchants + entities, n),
                rng.integers(merchants + entities, merchants + 2 * entities, n),
            ]
        )
        frauds = np.column_stack([cards, customers + entities])
        _warm(state.cards, cards, warm.cards, batch.cards)
        _warm(state.customers, customers, warm.customers, batch.customers)
        _warm(state.shared_entities, shared_entities, warm.shared_entities, batch.shared_entities)
        _warm(state.frauds, frauds, warm.frauds, batch.frauds)
        out.append(Batch(batch.columns, cards, customers, shared_entities, frauds, batch.card_hashes))
    return out, state


def _warm(arena: Arena, slots: Slots, source: Arena, of: Slots) -> None:
    """Copy to each slot the profile of the original entity, so that the work equals that of the traffic."""
    arena[slots.ravel()] = source[of.ravel()]


def _mapped(dtype: np.dtype, size: int) -> Arena:
    area = mmap.mmap(-1, size * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(area, dtype=dtype)
