"""Computing on copies of the profiles that a batch needs is computing on the profiles themselves."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.engine import _copied
from features.profile.codec import words_of
from features.profile.records import SHARED_ENTITY

PROFILES = 6


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-1, PROFILES - 1), min_size=3, max_size=3), max_size=8))
def test_each_slot_has_its_profile_among_the_copies(rows: list[list[int]]) -> None:
    arena = np.zeros(PROFILES, dtype=SHARED_ENTITY)
    words_of(arena)[:] = np.arange(PROFILES)[:, None]
    slots = np.array(rows, dtype=np.int64).reshape(len(rows), 3)
    found, where, copies = _copied(arena, slots)
    # once each, and as many as kernels must have at least
    assert found.tolist() == sorted({slot for row in rows for slot in row} - {-1})
    assert copies.dtype == arena.dtype and len(copies) == max(2, len(found))
    assert where.shape == slots.shape and ((where < 0) == (slots < 0)).all()
    there = slots >= 0
    assert (words_of(copies)[where[there]] == slots[there][:, None]).all()
