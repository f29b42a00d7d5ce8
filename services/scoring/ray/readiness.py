"""When a stream replica counts as started: once it would decide its first record as quickly as any later one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from streams.log.rollout_feed import RolloutsUnreachable


def not_warm(
    assigned: threading.Event, settled: threading.Event, rolled_out: Callable[[], bool], within_s: float
) -> str | None:
    """Wait until a replica is warm. Returns what is still missing after ``within_s``, or None.

    Args:
        assigned: set once the replica has its assignment, even an empty one.
        settled: set once the bundle that was rolled out is served and warm, or was refused.
        rolled_out: whether a bundle is rolled out; may raise RolloutsUnreachable.
    """
    until_s = time.monotonic() + within_s
    try:
        needed = {"its partitions": assigned, **({"its bundle": settled} if rolled_out() else {})}
    except RolloutsUnreachable as error:
        return str(error)
    missing = [name for name, event in needed.items() if not event.wait(max(0.0, until_s - time.monotonic()))]
    return " and ".join(missing) or None
