"""supervisord as a stack runs it: a log line that cannot be written is dropped, and supervision goes on.

supervisord reports a failed write on its own standard error. On a full disk that fails too, and then it ends or closes
its child's output: what is to bring everything back would be the first to go.
"""

from __future__ import annotations

import contextlib
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


if __name__ == "__main__":
    keep_going()
    supervisord.main()
