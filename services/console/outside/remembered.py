"""Remembers an answer for a moment: many people look at the same thing, and it is asked once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Remembered(Generic[Answer]):
    """``ask``, called at most once in ``for_s`` seconds. While one thread asks, others get the answer before, if there is one."""

    def __init__(self, ask: Callable[[], Answer], for_s: float) -> None:
        self._ask, self._for_s = ask, for_s
        self._lock = threading.Lock()
        self._found: tuple[float, Answer] | None = None

    def forget(self) -> None:
        """Ask again next time: something has changed."""
        self._found = None

    def __call__(self) -> Answer:
        """The answer. An error is not remembered."""
        before = self._found
        if not self._lock.acquire(blocking=before is None):
            assert before is not None
            return before[1]
        try:
            if self._found is None or time.monotonic() - self._found[0] > self._for_s:
                answer = self._ask()
                self._found = (time.monotonic(), answer)
            return self._found[1]
        finally:
            self._lock.release()
