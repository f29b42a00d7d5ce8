"""Client libraries log the same message again and again while a broker is away; this logs it at growing intervals."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

#: prefix of our loggers of what somebody may cause thousands of times a second
THROTTLED = "tollgate.throttled"
#: libraries that log every attempt; our other messages are never held back (librdkafka: see streams.runtime.kafka.clients)
CHATTY = ("aiokafka", "mode", THROTTLED)
FIRST_S, LAST_S = 1.0, 60.0
#: a message not logged for this long counts as new
FORGET_S = 180.0
MAX_KEPT = 500
_NUMBERS = re.compile(r"\d+")
_KEY_LENGTH = 100


class Repeats(logging.Filter):
    """Holds repeated messages back for 1 s, 2 s, 4 s... up to a minute; the next one that passes says how many were held."""

    def __init__(self, of: tuple[str, ...] = CHATTY, clock: Callable[[], float] = time.monotonic) -> None:
        """``of``: prefixes of the names of the loggers that are throttled."""
        super().__init__()
        self._of = of
        self._clock = clock
        #: key -> [when it last passed, the pause after that in seconds, how many were held back since]
        self._said: dict[tuple[str, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        if not record.name.startswith(self._of):
            return True
        now, text = self._clock(), record.getMessage()
        # messages about different attempts differ only in their numbers
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
            record.msg, record.args = f"{text} (and {known[2]:.0f} more times since it was last logged)", ()
        self._said[key] = [now, min(known[1] * 2, LAST_S), 0]
        return True
