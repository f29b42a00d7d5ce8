"""Waiting for what happens in another thread or process, as long as a shared machine may take for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: a shared machine was seen to stand still for 40 s: nothing that waits for another process gives up before
STALL_S = 90.0


def until(condition: Callable[[], Any], timeout_s: float, what: str, *, look_s: float = 0.05) -> Any:
    """Poll every ``look_s`` until ``condition`` gives something true, and return it.

    Raises:
        TimeoutError: not within ``timeout_s`` (STALL_S at least); the text says what was waited for and what was there instead.
    """
    timeout_s = max(timeout_s, STALL_S)
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}; last: {value!r}")
        time.sleep(look_s)
