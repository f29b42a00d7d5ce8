"""Recognises repeated records by the source offset that they carry. The one home of this rule.

After a crash a stage produces some of its records again. Each names the place on the source topic that it was made from. Where
those of one source come in the order of their offsets, the highest offset seen tells (``SourceOffsets``): whatever is at or
below it is a duplicate, whatever is above it is new. Where a crash may also bring a lower offset for the first time, as on
`outcomes`, the newest ones are remembered one by one (``Seen``).

Other rules, for other things: what labels say is known by the statement (``streams.processor.entity_updates``), an id that a producer
sends twice by the card's own profile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from streams.log.feature_batch import FeatureBatch

Source = TypeVar("Source", bound=Hashable)
#: offsets that a crash may repeat: the chunk at work (4,096), or the few that a store lost with its last second
WINDOW = 32_768
_MASK = (1 << WINDOW) - 1


class SourceOffsets(Generic[Source]):
    """The highest offset seen of each source; -1 where nothing was."""

    def __init__(self, highest: Mapping[Source, int] | None = None) -> None:
        self.highest: dict[Source, int] = dict(highest or {})

    def of(self, source: Source) -> int:
        """The highest offset seen."""
        return self.highest.get(source, -1)

    def see(self, source: Source, offset: int) -> bool:
        """See an offset; False: it is a duplicate."""
        if offset <= self.of(source):
            return False
        self.highest[source] = offset
        return True


def unseen(batch: FeatureBatch, seen: SourceOffsets[int]) -> FeatureBatch | None:
    """The rows of a batch that are no duplicates, seen from now on; None where all are. ``seen``: by partition."""
    offsets = batch.columns.offset
    first = bisect_right(offsets, seen.of(batch.partition))
    if not seen.see(batch.partition, offsets[-1]):
        return None
    return batch[first:] if first else batch


@dataclass(frozen=True)
class Seen:
    """Offsets seen of one source, in 4 KiB: all old ones, and of the newest ``WINDOW`` exactly those that came.

    Bit k of ``recent`` stands for ``last - k``.
    """

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
        """``recent`` as bytes, for the archive's manifest."""
        return self.recent.to_bytes(WINDOW // 8, "little")

    @staticmethod
    def unpack(last: int, recent: bytes) -> Seen:
        """What ``pack`` made."""
        return Seen(last, int.from_bytes(recent, "little"))
