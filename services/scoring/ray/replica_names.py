"""Names of replicas. Serve's own names are random, but ports, pid files and `tollgate status` need fixed ones (`scoring-stream-0`).

A replica takes the first free index with a file lock, which the kernel releases however the process ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

#: Serve starts a new replica before the failed one, which may be frozen, has ended
FREE_WITHIN_S, LOOK_S = 30.0, 0.1


class NoNameLeft(Exception):
    """More replicas than names."""


class ReplicaName:
    """A name and its lock, which is held as long as this object lives."""

    def __init__(self, name: str, index: int, lock: IO[str]) -> None:
        self.name = name
        self.index = index
        self._lock = lock


def take_name(run_dir: Path, prefix: str, replicas: int, within_s: float = FREE_WITHIN_S) -> ReplicaName:
    """Take ``prefix-i`` with the lowest free i below ``replicas``, and write the pid to ``run_dir/prefix-i.pid``.

    Raises:
        NoNameLeft: all are held, and none became free within ``within_s``.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + within_s
    while True:
        for index in range(replicas):
            taken = _take(run_dir, f"{prefix}-{index}", index)
            if taken is not None:
                return taken
        if time.monotonic() > end:
            raise NoNameLeft(
                f"all {replicas} names of {prefix} are taken in {run_dir}: an old replica still runs;"
                " find the process that hangs (`tollgate status`) and kill it"
            )
        time.sleep(LOOK_S)


def _take(run_dir: Path, name: str, index: int) -> ReplicaName | None:
    lock = (run_dir / f"{name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    # one line per start: the last is the running process, the others count as restarts
    with (run_dir / f"{name}.pid").open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    return ReplicaName(name, index, lock)
