"""How often chunks are fetched. Each cycle costs, whatever it brings, so a busy stage takes fewer and larger chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from faust.types import TP

#: this many records in a chunk double the interval
DOUBLE_RECORDS = 40

#: chunks closer together than this mean a busy time
BUSY_GAP_S = 0.05

#: a fetch gathers at most this, however long it may wait
BUSY_FETCH_BYTES = 2_000_000


@dataclass(frozen=True)
class Pacing:
    """How often chunks are fetched.

    ``chunk_interval_s``: least time between two chunks; records that arrive meanwhile go into one chunk.
    ``slow_topics``: topic to seconds; such topics, for which nobody waits, are handed on only at this interval.
    ``at_broker``: when chunks follow each other closely, the broker waits out the interval before it answers; in quiet
    times it answers at once. If the consumer waited, records would wait twice: those of an early fetch in the consumer, and
    later ones at the broker.
    ``longest_interval_s``: the interval grows with the size of the previous chunk, up to this: CPU is then short, and
    waiting costs less than working in small pieces.
    ``latency_sensitive``: whether somebody waits for a record of the other topics. If a fetch has no such record, the next
    one comes after the longest interval.
    """

    chunk_interval_s: float = 0.0
    longest_interval_s: float = 0.0
    at_broker: bool = False
    slow_topics: Mapping[str, float] = field(default_factory=dict)
    latency_sensitive: Callable[[Any], bool] = lambda record: True

    def interval_after(self, fetched: Mapping[TP, Sequence[Any]]) -> float:
        """Least time between a chunk of these records and the next chunk, seconds."""
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
