"""A replica decides nothing before it serves the bundle that is rolled out: what waited while it was away is decided by that bundle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from streams.log.rollouts.feed import RolloutsUnreachable

#: usually 1 to 3 s; half a minute more where kernels are compiled for the first time
BUNDLE_WITHIN_S = 45.0


def bundle_missing(
    settled: threading.Event, rolled_out: Callable[[], bool], within_s: float = BUNDLE_WITHIN_S
) -> str | None:
    """Wait until a replica's bundle is served. Returns what is missing after ``within_s``, or None; also if none is rolled out.

    Args:
        settled: set once the bundle that was rolled out is served and warm, or was refused.
        rolled_out: whether a bundle is rolled out; may raise RolloutsUnreachable.
    """
    until_s = time.monotonic() + within_s
    try:
        if not rolled_out() or settled.wait(max(0.0, until_s - time.monotonic())):
            return None
    except RolloutsUnreachable as error:
        return str(error)
    return f"the bundle that is rolled out was not ready within {within_s:g} s"
