"""Runs supervisord with three changes: it survives a full disk, Redis' rewrite processes run at low priority, and processes of ours that
stand still are ended, so that it starts them again (``infra/stack/health/standstill.py``).

supervisord reports a failed write of a log line on its standard error. On a full disk that fails too; supervisord would
then exit or close the output of its child. Here such a line is dropped.

Redis rewrites its append-only file in a child process, which uses a whole core for seconds. Redis has no setting for the
priority of that child, so it is set from here.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

from supervisor import loggers, supervisord

from infra.stack.health.standstill import LOOK_EVERY_S as HEARTBEATS_EVERY_S
from infra.stack.health.standstill import Standstill, marked_with
from infra.stack.supervisor import MARK
from streams.runtime.settings import load_settings

_roll_over = loggers.RotatingFileHandler.doRollover


def _dropped(_: Any) -> None:
    """In place of printing a traceback."""


def _roll_over_or_go_on(handler: Any) -> None:
    try:
        _roll_over(handler)
    except (OSError, ValueError):
        # closing flushes, which fails on a full disk; the stream is closed nevertheless
        with contextlib.suppress(OSError):
            handler.stream = Path(handler.baseFilename).open("ab")  # noqa: SIM115 - the handler closes it


def keep_going() -> None:
    """Make supervisord's logging survive a full disk."""
    loggers.Handler.handleError = _dropped
    loggers.RotatingFileHandler.doRollover = _roll_over_or_go_on


SAVES_NICE, LOOK_EVERY_S = 15, 0.5


def lower_saves(parent: int) -> None:
    """Lower the priority of the child processes of the Redis that ``parent`` started; no effect if /proc lists no children."""
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
        # the process has exited, or this system does not list children
        return []


def _keep_saves_low() -> None:
    while True:
        lower_saves(os.getpid())
        time.sleep(LOOK_EVERY_S)


def _end_what_stands(home: str) -> None:
    watcher = Standstill(load_settings(home).run_dir, marked_with(MARK, home))
    while True:
        # the process edge: whatever fails must not end the watch over the others
        try:
            for name in watcher.look():
                print(f"{name} stood still and was ended", flush=True)
        except (OSError, ValueError) as error:
            print(f"heartbeats could not be read: {error}", flush=True)
        time.sleep(HEARTBEATS_EVERY_S)


if __name__ == "__main__":
    keep_going()
    if MARK in os.environ:
        threading.Thread(
            target=_end_what_stands, args=(os.environ[MARK],), name="standstill", daemon=True
        ).start()
    threading.Thread(target=_keep_saves_low, name="saves", daemon=True).start()
    supervisord.main()
