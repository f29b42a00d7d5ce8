"""How much one person may ask at once, so that nobody takes the threads on which the console answers everybody."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.console.problems import too_many

#: requests of one person that are answered at once, live streams included: a browser sends six. All share forty threads
MAX_AT_ONCE = 16


class Turns:
    """The requests that are answered now, by person."""

    def __init__(self, most: int = MAX_AT_ONCE) -> None:
        self._most, self._asking, self._lock = most, Counter[str](), threading.Lock()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """One request of a person. Raises: Problem 429: they ask too much at once."""
        with self._lock:
            if self._asking[name] >= self._most:
                raise too_many(f"you ask {self._most} things at once already", 1)
            self._asking[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking[name] -= 1
