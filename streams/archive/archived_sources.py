"""Which source offsets are archived, in 4 KiB: all old ones, and of the newest ``WINDOW`` exactly those that came.

The last offset alone would not do: whether a label or its decision completes a pair depends on which came first, so
after a crash an offset below the last can bring an outcome for the first time.
"""

from __future__ import annotations

from dataclasses import dataclass

#: offsets that a crash may repeat: the chunk at work (4,096), or the few that a store lost with its last second
WINDOW = 32_768
_MASK = (1 << WINDOW) - 1


@dataclass(frozen=True)
class Seen:
    """Offsets archived from one partition of one source topic. Bit k of ``recent`` stands for ``last - k``."""

    last: int = -1
    recent: int = 0

    def __contains__(self, offset: int) -> bool:
        age = self.last - offset
        return age >= WINDOW or (age >= 0 and bool(self.recent >> age & 1))

    def with_offset(self, offset: int) -> Seen:
        """These and ``offset``."""
        ahead = offset - self.last
        if ahead > 0:
            return Seen(offset, (self.recent << min(ahead, WINDOW) | 1) & _MASK)
        return self if -ahead >= WINDOW else Seen(self.last, self.recent | 1 << -ahead)

    def pack(self) -> bytes:
        """``recent`` as bytes, for the manifest."""
        return self.recent.to_bytes(WINDOW // 8, "little")

    @staticmethod
    def unpack(last: int, recent: bytes) -> Seen:
        """What ``pack`` made."""
        return Seen(last, int.from_bytes(recent, "little"))
