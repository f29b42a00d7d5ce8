"""Counts rules and lists that fail, and logs each at most once a minute. A failed one is skipped; its batch is decided without it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from streams.runtime.metrics import RULE_ERRORS

logger = logging.getLogger(__name__)
EVERY_S = 60.0


class RuleFailures:
    """The callback of a policy for what it skipped. Names come from signed policies, so they are few."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def __call__(self, name: str, error: Exception) -> None:
        """Count a failure of a rule or list; log it unless it was logged within the last minute."""
        RULE_ERRORS.labels(name).inc()
        now_s = self._clock()
        if now_s - self._said.get(name, float("-inf")) < EVERY_S:
            return
        self._said[name] = now_s
        logger.error(
            "rule %s failed and is skipped (logged once in %.0f s): %s: %s",
            name, EVERY_S, type(error).__name__, error,
        )  # fmt: skip
