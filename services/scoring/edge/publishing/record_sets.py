"""Records that are published together: which of them the broker has, and whether their callers were told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any


class SentSet:
    """n records. ``report`` is called once for each, on any thread; others may look meanwhile."""

    __slots__ = ("_count", "_size", "acknowledged", "closed", "done", "errors", "owner")

    def __init__(self, size: int, done: Callable[[SentSet], None]) -> None:
        """``done`` is called with the set, where the last report comes in."""
        #: uint8 (n,): 1 once the broker has the record
        self.acknowledged = bytearray(size)
        #: what went wrong, by place
        self.errors: dict[int, str] = {}
        #: those that are acknowledged were answered; the others follow one by one
        self.closed = False
        #: what the publisher of the set keeps with it
        self.owner: Any = None
        self.done = done
        self._size = size
        # two threads may count at once: this takes one step, which += does not
        self._count = itertools.count(1)

    def report(self, place: int, error: str | None) -> None:
        """Say what became of one record."""
        if error is None:
            self.acknowledged[place] = 1
        else:
            self.errors[place] = error
        if next(self._count) == self._size:
            self.done(self)
