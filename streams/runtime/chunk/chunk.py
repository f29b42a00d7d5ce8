"""A chunk: the records of one topic from one fetch, and the offset up to which each partition is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from faust.types import TP

#: (topic, partition) -> next offset to read
Positions = dict[tuple[str, int], int]


@dataclass
class Chunk:
    """Records of one topic from one fetch, in offset order within each partition."""

    topic: str
    records: list[Any]
    #: per partition the offset after its last record: where the next chunk starts
    positions: dict[TP, int] = field(default_factory=dict)
    #: per partition the offset at which this fetch started: the end of the previous chunk, or the session's first offset
    starts: dict[TP, int] = field(default_factory=dict)
    #: tells the consumer that the chunk is being handled from now on
    begin: Callable[[], None] = lambda: None
    #: tells the consumer that what ends the process now is not the fault of the chunk's records
    forgive: Callable[[], None] = lambda: None
    #: tells the consumer that the chunk is finished; Faust's own acknowledgement also comes for chunks that it skipped
    finish: Callable[[], None] = lambda: None
    #: the consumer's session that fetched it, and whether that session is still the current one
    session: int = 0
    current: Callable[[], bool] = lambda: True

    def partitions(self) -> list[int]:
        """Partitions with records in this chunk, ascending."""
        return sorted(tp.partition for tp in self.positions)
