"""Measures a peer's process: CPU of equal shares of its events, memory, and sums that show whether its windows are correct."""

from __future__ import annotations

import json
import resource
from pathlib import Path

PAGE = resource.getpagesize()
#: equal shares of the events; the first one warms up
SHARES = 6


class Meter:
    """Count events; after the last one print one line of JSON: ``us`` per event of each share but the first,
    ``rss_mb`` that memory grew by, and the sums of all counts and sums (sums modulo 2^53).
    """

    def __init__(self, events: int) -> None:
        self._each = events // SHARES
        self._events = self._each * SHARES
        self._done = 0
        self._cpu_s: list[float] = []
        self._rss = 0
        self._counts = self._sums = 0

    def saw(self, windows: list[int]) -> None:
        """One event is done; ``windows`` as ``windows.add`` returned them."""
        if self._done == 0:
            self._rss = _rss()
        self._done += 1
        if self._done <= self._events:
            self._counts += sum(windows[:4])
            self._sums += sum(windows[4:])
        if self._done % self._each == 0 and self._done <= self._events:
            used = resource.getrusage(resource.RUSAGE_SELF)
            self._cpu_s.append(used.ru_utime + used.ru_stime)
            if self._done == self._events:
                self._tell()

    def _tell(self) -> None:
        us = [(b - a) * 1e6 / self._each for a, b in zip(self._cpu_s, self._cpu_s[1:], strict=False)]
        told = {
            "us": us,
            "rss_mb": (_rss() - self._rss) / 1e6,
            "counts": self._counts,
            "sums": self._sums % 2**53,
        }
        print(json.dumps(told), flush=True)


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
