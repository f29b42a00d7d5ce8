"""supervisord as a stack runs it: a log line that cannot be written is dropped, and supervision goes on; Redis' saves are nice.

supervisord reports a failed write on its own standard error. On a full disk that fails too, and then it ends or closes
its child's output: what is to bring everything back would be the first to go.

Redis rewrites its append-only file in a child of its own, which takes a whole core for seconds, at the priority of what
decides. It has no setting for that, so it is seen to from here.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

from supervisor import loggers, supervisord

_roll_over = loggers.RotatingFileHandler.doRollover


def _dropped(_: Any) -> None:
    """In place of printing a traceback."""


def _roll_over_or_go_on(handler: Any) -> None:
    try:
        _roll_over(handler)
    except (OSError, ValueError):
        # closing flushes, which a full disk refuses; the stream is closed all the same
        with contextlib.suppress(OSError):
            handler.stream = Path(handler.baseFilename).open("ab")  # noqa: SIM115 - the handler closes it


def keep_going() -> None:
    """Make supervisord's logging survive a disk that takes nothing."""
    loggers.Handler.handleError = _dropped
    loggers.RotatingFileHandler.doRollover = _roll_over_or_go_on


SAVES_NICE, LOOK_EVERY_S = 15, 0.5


def lower_saves(parent: int) -> None:
    """Give the children of ``parent``'s Redis the priority of work that nobody waits for; where Linux lists no children, nothing."""
    for server in _children(parent):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{server}/comm").read_text().strip() == "redis-server":
                for child in _children(server):
                    if os.getpriority(os.PRIO_PROCESS, child) < SAVES_NICE:
                        os.setpriority(os.PRIO_PROCESS, child, SAVES_NICE)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        # gone, or a system that does not tell
        return []


def _keep_saves_low() -> None:
    while True:
        lower_saves(os.getpid())
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    keep_going()
    threading.Thread(target=_keep_saves_low, name="saves", daemon=True).start()
    supervisord.main()
