"""How often chunks are taken. What costs is the cycle, not the record, so a busy stage takes fewer and larger chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from faust.types import TP

#: so many records in a chunk double the interval
DOUBLE_RECORDS = 40

#: chunks closer than this are a busy time
BUSY_GAP_S = 0.05

#: no fetch gathers more than this, however long it may wait
BUSY_FETCH_BYTES = 2_000_000


@dataclass(frozen=True)
class Pacing:
    """How often chunks are taken: cycles cost, not records.

    ``chunk_interval_s``: least time between two chunks; what arrives meanwhile is one. ``slow_topics``: topics that are
    looked at only every so many seconds, for what nobody waits for. ``at_broker``: once chunks follow each other closely, it is
    the broker that waits out the interval before it answers; in quiet times it answers at once. Waiting here instead
    would let records grow old twice: what a fetch brought early waits here, and what came after it waits there.
    ``longest_interval_s``: the interval grows by itself with what the chunk before held, up to this: then it is processor time
    that is short, and waiting a little costs less than working in small pieces. ``latency_sensitive``: whether somebody waits for
    a record of the other topics; after a fetch in which nobody does, the longest interval is waited.
    """

    chunk_interval_s: float = 0.0
    longest_interval_s: float = 0.0
    at_broker: bool = False
    slow_topics: Mapping[str, float] = field(default_factory=dict)
    latency_sensitive: Callable[[Any], bool] = lambda record: True

    def interval_after(self, fetched: Mapping[TP, Sequence[Any]]) -> float:
        """Least time between a chunk of these records and the next, seconds."""
        longest_s = max(self.chunk_interval_s, self.longest_interval_s)
        count, waited_for = 0, None
        for place, records in fetched.items():
            count += len(records)
            if records and place.topic not in self.slow_topics:
                waited_for = waited_for or any(map(self.latency_sensitive, records))
        if waited_for is False:
            return longest_s
        return min(self.chunk_interval_s * (1 + count / DOUBLE_RECORDS), longest_s)


AT_ONCE = Pacing()
