"""Client libraries repeat themselves while a broker is away; a log says each thing once, then at growing intervals."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

#: libraries that log every attempt; our own messages are never held back (librdkafka's have a filter in streams.runtime.kafka.clients)
CHATTY = ("aiokafka", "mode")
FIRST_S, LAST_S = 1.0, 60.0
#: a thing not said for so long is new again
FORGET_S = 180.0
MAX_KEPT = 500
_NUMBERS = re.compile(r"\d+")
_KEY_LENGTH = 100


class Repeats(logging.Filter):
    """Holds repetitions back, for 1 s, 2 s, 4 s... up to a minute; the next one let through says how many were held."""

    def __init__(self, of: tuple[str, ...] = CHATTY, clock: Callable[[], float] = time.monotonic) -> None:
        """``of``: how the names of the loggers begin whose repetitions are held back."""
        super().__init__()
        self._of = of
        self._clock = clock
        #: key -> [when it was last let through, the pause after that, how many were held since]
        self._said: dict[tuple[str, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is let through."""
        if not record.name.startswith(self._of):
            return True
        now, text = self._clock(), record.getMessage()
        # the same message about another attempt differs by its numbers
        key = (record.name, _NUMBERS.sub("#", text)[:_KEY_LENGTH])
        known = self._said.get(key)
        if known is None or now - known[0] > FORGET_S:
            if len(self._said) >= MAX_KEPT:
                self._said.clear()
            self._said[key] = [now, FIRST_S, 0]
            return True
        if now - known[0] < known[1]:
            known[2] += 1
            return False
        if known[2]:
            record.msg, record.args = f"{text} (and {known[2]:.0f} times since it was last said)", ()
        self._said[key] = [now, min(known[1] * 2, LAST_S), 0]
        return True
