"""Records that are published together: which of them the broker has acknowledged, and whether their callers were answered."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any


class SentSet:
    """n records. ``report`` is called once for each, on any thread, while other threads may read."""

    __slots__ = ("_count", "_size", "acknowledged", "closed", "done", "errors", "owner")

    def __init__(self, size: int, done: Callable[[SentSet], None]) -> None:
        """``done`` is called with the set, on the thread of the last report."""
        #: uint8 (n,): 1 once the broker has acknowledged the record
        self.acknowledged = bytearray(size)
        #: error text by index
        self.errors: dict[int, str] = {}
        #: True once the acknowledged records' callers were answered; the others are answered one by one
        self.closed = False
        #: data of the set's publisher
        self.owner: Any = None
        self.done = done
        self._size = size
        # two threads may count at once: next() is atomic, += is not
        self._count = itertools.count(1)

    def report(self, place: int, error: str | None) -> None:
        """Record the acknowledgement (``error`` None) or the failure of one record."""
        if error is None:
            self.acknowledged[place] = 1
        else:
            self.errors[place] = error
        if next(self._count) == self._size:
            self.done(self)
