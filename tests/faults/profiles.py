"""The oracle's profiles of one view, and their comparison with what Redis holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from features.profile.codec import ProfileError, encode_profiles
from features.profile.records import new_arena
from features.store.batch_commands import pack_hmget
from features.store.keys import View
from features.store.redis_client import RespClient
from features.store.stored_profiles import columns_in, read_profiles
from streams.processor.entity_updates import dtype_of
from tests.faults.findings import Findings

READ_AT_ONCE = 2_000


class Profiles:
    """The oracle's profiles of one view; ``touched`` are those changed since the last comparison."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.slots: dict[str, int] = {}
        self.arena = new_arena(dtype_of(view), 1024)
        self.touched: set[str] = set()

    def slots_of(self, names: Iterable[str]) -> list[int]:
        out = [self.slots.setdefault(name, len(self.slots)) for name in names]
        while len(self.slots) > len(self.arena):
            before, self.arena = self.arena, new_arena(self.arena.dtype, 2 * len(self.arena))
            # copied as bytes: NumPy copies structured records field by field and skips the padding between
            self.arena.view(np.uint8)[: before.nbytes] = before.view(np.uint8)
        return out

    def expected(self, names: Sequence[str]) -> list[bytes]:
        places = np.array([self.slots[name] for name in names], dtype=np.int64)
        return encode_profiles(self.arena, places)

    def _stored(self, reply: Any) -> bytes | None:
        """The profile in a reply, packed again like ``expected``: the stored form depends on chunk boundaries."""
        arena, place = new_arena(self.arena.dtype, 1), np.array([0])
        ((profiles, since),) = columns_in([reply], [self.view])
        try:
            read_profiles(arena, place, profiles, since)
        except (ProfileError, ValueError):
            return None
        return encode_profiles(arena, place)[0]

    def compare(self, client: RespClient, found: Findings, *, everything: bool) -> None:
        """Compare the store's profiles with the oracle's, byte by byte: those changed since the last time, or ``everything``."""
        names = sorted(self.slots if everything else self.touched)
        self.touched.clear()
        for first in range(0, len(names), READ_AT_ONCE):
            part = names[first : first + READ_AT_ONCE]
            replies = client.with_retry([pack_hmget(part, self.view)])
            stored = [self._stored(reply) for reply in replies]
            for name, profile, wanted in zip(part, stored, self.expected(part), strict=True):
                if profile != wanted:
                    found.note(f"{self.view.name} {name}: another profile than the oracle's", differing=1)
