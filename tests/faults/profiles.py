"""The oracle's profiles of one view, and their comparison with what Redis holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from features.profile.codec import ProfileError, read_profiles
from features.profile.records import new_arena
from features.store.commands import pack_mget
from features.store.redis_client import RespClient
from features.store.views import View
from tests.faults.findings import Findings

READ_AT_ONCE = 2_000


class Profiles:
    """The oracle's profiles of one view; ``touched`` are those changed since the last comparison."""

    def __init__(self, view: View, partitions: int) -> None:
        self.view, self._partitions = view, partitions
        self.slots: dict[str, int] = {}
        self.arena = new_arena(view.dtype, 1024)
        self.touched: set[str] = set()

    def slots_of(self, names: Iterable[str]) -> list[int]:
        out = [self.slots.setdefault(name, len(self.slots)) for name in names]
        while len(self.slots) > len(self.arena):
            before, self.arena = self.arena, new_arena(self.arena.dtype, 2 * len(self.arena))
            # copied as bytes: NumPy copies structured records field by field and skips the padding between
            self.arena.view(np.uint8)[: before.nbytes] = before.view(np.uint8)
        return out

    def expected(self, names: Sequence[str]) -> list[bytes]:
        return [self.arena[self.slots[name]].tobytes() for name in names]

    def _stored(self, value: bytes | None) -> bytes | None:
        """The record in a reply; None if it cannot be read."""
        arena = new_arena(self.arena.dtype, 1)
        try:
            read_profiles(arena, np.array([0]), [value])
        except ProfileError:
            return None
        return arena[0].tobytes()

    def compare(self, client: RespClient, found: Findings, *, everything: bool) -> None:
        """Compare the store's profiles with the oracle's, byte by byte: those changed since the last time, or ``everything``."""
        names = sorted(self.slots if everything else self.touched)
        self.touched.clear()
        for first in range(0, len(names), READ_AT_ONCE):
            part = names[first : first + READ_AT_ONCE]
            (replies,) = client.with_retry([pack_mget(self.view, part, self._partitions)])
            stored = [self._stored(reply) for reply in replies]
            for name, profile, wanted in zip(part, stored, self.expected(part), strict=True):
                if profile != wanted:
                    found.note(f"{self.view.name} {name}: another profile than the oracle's", differing=1)
