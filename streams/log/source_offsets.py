"""Recognises duplicate records by their source offset. This rule is implemented only here.

After a crash a stage produces some of its records again. Each record carries its source: the topic, partition and offset that it was made from.
Where records of one source come in offset order, ``SourceOffsets`` keeps the highest offset: a record at or below it is a
duplicate. Where a lower offset can come for the first time after a crash, as on `outcomes`, ``Seen`` keeps the newest offsets one by
one.

Two other rules exist: label updates are compared by statement (``streams.processor.entity_updates``), and an id that a producer sends
twice is found in the card's profile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from streams.log.feature_batch import FeatureBatch

Source = TypeVar("Source", bound=Hashable)
#: number of offsets kept one by one; a crash repeats at most the current chunk (4,096), or what Redis lost with its last second
WINDOW = 32_768
_MASK = (1 << WINDOW) - 1


class SourceOffsets(Generic[Source]):
    """The highest offset seen of each source; -1 where none was."""

    def __init__(self, highest: Mapping[Source, int] | None = None) -> None:
        self.highest: dict[Source, int] = dict(highest or {})

    def of(self, source: Source) -> int:
        """The highest offset seen."""
        return self.highest.get(source, -1)

    def see(self, source: Source, offset: int) -> bool:
        """Record an offset; returns False if it is a duplicate."""
        if offset <= self.of(source):
            return False
        self.highest[source] = offset
        return True


def unseen(batch: FeatureBatch, seen: SourceOffsets[int]) -> FeatureBatch | None:
    """The rows of a batch that are not duplicates, None if all are; updates ``seen``, which is by partition."""
    offsets = batch.columns.offset
    first = bisect_right(offsets, seen.of(batch.partition))
    if not seen.see(batch.partition, offsets[-1]):
        return None
    return batch[first:] if first else batch


@dataclass(frozen=True)
class Seen:
    """Offsets seen of one source, in 4 KiB. Exact for the newest ``WINDOW`` offsets; all older offsets count as seen.

    Bit k of ``recent`` stands for offset ``last - k``.
    """

    last: int = -1
    recent: int = 0

    def __contains__(self, offset: int) -> bool:
        age = self.last - offset
        return age >= WINDOW or (age >= 0 and bool(self.recent >> age & 1))

    def with_offset(self, offset: int) -> Seen:
        """A copy that includes ``offset``."""
        ahead = offset - self.last
        if ahead > 0:
            return Seen(offset, (self.recent << min(ahead, WINDOW) | 1) & _MASK)
        return self if -ahead >= WINDOW else Seen(self.last, self.recent | 1 << -ahead)

    def pack(self) -> bytes:
        """``recent`` as bytes, for the archive's manifest."""
        return self.recent.to_bytes(WINDOW // 8, "little")

    @staticmethod
    def unpack(last: int, recent: bytes) -> Seen:
        """The inverse of ``pack``."""
        return Seen(last, int.from_bytes(recent, "little"))
