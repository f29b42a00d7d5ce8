"""Where the topics that records name as their source end: no record was made from an offset at or beyond that."""

from __future__ import annotations

from collections.abc import Callable

from streams.runtime.kafka.log_reader import end_of

#: the offset at which a partition of a topic ends, 0 where there is no such partition
SourceEnd = Callable[[str, int], int]


class SourceEnds:
    """Asks the broker; meant for the rare record whose offset is far from its source's last one."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    def __call__(self, topic: str, partition: int) -> int:
        """The offset at which a partition ends now, 0 where there is none.

        Raises:
            LedgerUnreachable: the broker does not answer.
        """
        return end_of(self._bootstrap, [topic])[topic].get(partition, 0)
