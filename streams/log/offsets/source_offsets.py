"""Recognises duplicate records by their source offset. This rule is implemented only here.

After a crash a stage produces some of its records again. Each record carries its source: the topic, partition and offset that it was made from.
Where records of one source come in offset order, ``SourceOffsets`` keeps the highest offset: a record at or below it is a
duplicate. Where a lower offset can come for the first time after a crash, as on `outcomes`, ``Seen`` keeps the newest offsets one by
one. Scoring, whose mistake would be a transaction without a decision, keeps the newest with their transactions (``DecidedRows``).

Two other rules exist: label updates are compared by statement (``streams.processor.entity_updates``), and an id that a producer sends
twice is found in the card's profile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from features.identity import identities_of
from streams.log.feature_batch import FeatureBatch
from streams.log.offsets.source_ends import SourceEnd
from streams.log.topics import TRANSACTIONS

Source = TypeVar("Source", bound=Hashable)
#: number of offsets kept one by one; a crash repeats at most the current chunk (4,096), or what Redis lost with its last second
WINDOW = 32_768
_MASK = (1 << WINDOW) - 1
#: offsets between two batches of one partition that need no look at the source: a chunk's
MAX_JUMP = 4096
#: greatest difference between the clocks of two brokers, which stamp append times
CLOCKS_APART_MS = 5_000


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


class DecidedRows:
    """Which rows of one partition of `features` were decided: exactly for the newest, by offset and append time for all others.

    An offset alone proves nothing: a record may claim one that its source never reached, and a log that was lost gives its offsets
    again. So a row at or below the highest offset counts as decided only if that very transaction was decided under its offset,
    or if it is older than what is remembered: below its offsets, and not appended later.
    """

    def __init__(self, newest: Mapping[int, str] | None = None, below: int = -1, below_ms: int = -1) -> None:
        """``newest``: identities by source offset of the newest decisions; ``below``: everything up to this offset was decided if it
        was appended up to ``below_ms``, ms since 1970."""
        self._newer: dict[int, str] = dict(newest or {})
        self._older: dict[int, str] = {}
        self._below, self._below_ms = below, below_ms
        # offset and append time of the last row of each generation: in the order of `features`, which a lie does not change
        self._newer_last = self._older_last = (below, below_ms)
        #: the highest offset of a decided row
        self.highest = max(self._newer, default=below)

    def fresh(self, batch: FeatureBatch) -> FeatureBatch | None:
        """The rows that are not decided yet, None if all are. They count as decided from now on."""
        columns = batch.columns
        names = identities_of(columns.tenant, columns.transaction_id)
        offsets, appended_ms = columns.offset, columns.appended_ms
        if offsets[0] <= self.highest:
            rows = [
                row
                for row, (offset, name, ms) in enumerate(zip(offsets, names, appended_ms, strict=True))
                if self._is_fresh(offset, name, ms)
            ]
            if not rows:
                return None
            if len(rows) < len(batch):
                batch = batch.take(rows)
                names = [names[row] for row in rows]
                offsets, appended_ms = batch.columns.offset, batch.columns.appended_ms
        self._newer.update(zip(offsets, names, strict=True))
        self._newer_last = offsets[-1], appended_ms[-1]
        self.highest = max(self.highest, offsets[-1])
        if len(self._newer) >= WINDOW:
            self._forget_older()
        return batch

    def _is_fresh(self, offset: int, name: str, appended_ms: int) -> bool:
        held = self._newer.get(offset) or self._older.get(offset)
        if held is not None:
            return held != name
        return offset > self._below or appended_ms > self._below_ms + CLOCKS_APART_MS

    def _forget_older(self) -> None:
        self._below, self._below_ms = self._older_last
        self._older, self._older_last = self._newer, self._newer_last
        self._newer = {}


class ImpossibleOffset(ValueError):
    """A record claims an offset that its source does not have; the text says which."""


def check_offset(topic: str, partition: int, offset: int, highest: int, source_end: SourceEnd) -> None:
    """Refuse a source offset that cannot be.

    Args:
        highest: the highest offset known of this source. ``source_end`` is asked only about a jump that no chunk makes.

    Raises:
        ImpossibleOffset: the source ends before it.
    """
    if offset <= highest + MAX_JUMP:
        return
    end = source_end(topic, partition)
    if offset >= end:
        raise ImpossibleOffset(f"it claims offset {offset} of {topic}[{partition}], which ends at {end}")


def check_batch(batch: FeatureBatch, highest: int, source_end: SourceEnd) -> None:
    """``check_offset`` of a batch of `features`. Raises: ImpossibleOffset."""
    check_offset(TRANSACTIONS.name, batch.partition, batch.columns.offset[-1], highest, source_end)


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
