"""A chunk: the records of one topic from one fetch, and how far each partition is read with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from faust.types import TP

#: (topic, partition) -> next offset to read
Positions = dict[tuple[str, int], int]


@dataclass
class Chunk:
    """Records of one topic from one fetch, per partition in offset order."""

    topic: str
    records: list[Any]
    #: per partition the offset after its last record: where the next chunk begins
    positions: dict[TP, int] = field(default_factory=dict)
    #: per partition where the fetch stood before its first record: the end of the chunk before, or where the session began
    starts: dict[TP, int] = field(default_factory=dict)
    #: tells the consumer that the work is done; Faust's own acknowledgement also comes for chunks that it skipped
    finish: Callable[[], None] = lambda: None
    #: the consumer's session that fetched it, and whether that session still runs
    session: int = 0
    current: Callable[[], bool] = lambda: True

    def partitions(self) -> list[int]:
        """The partitions that this chunk holds records of, ascending."""
        return sorted(tp.partition for tp in self.positions)
