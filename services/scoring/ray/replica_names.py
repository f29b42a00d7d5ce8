"""Names of replicas: Serve's own are random, but ports, pid files and `tollgate status` need `scoring-stream-0`.

The first free index is taken by a file lock, which the kernel gives back when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

#: Serve starts another replica before the one that it gave up, which may be frozen, is dead
FREE_WITHIN_S, LOOK_S = 30.0, 0.1


class NoNameLeft(Exception):
    """More replicas than names."""


class ReplicaName:
    """A held name; the lock lives as long as this object and its process."""

    def __init__(self, name: str, index: int, lock: IO[str]) -> None:
        self.name = name
        self.index = index
        self._lock = lock


def take_name(run_dir: Path, prefix: str, replicas: int, within_s: float = FREE_WITHIN_S) -> ReplicaName:
    """Take ``prefix-i`` with the lowest free i below ``replicas``, and write the pid to ``run_dir/prefix-i.pid``.

    Raises:
        NoNameLeft: all are held, and none became free ``within_s``.
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
                f"all {replicas} replicas of {prefix} run already in {run_dir}: Serve replaces one that it"
                " cannot end; look for a process that hangs there (`tollgate status`) and kill it"
            )
        time.sleep(LOOK_S)


def _take(run_dir: Path, name: str, index: int) -> ReplicaName | None:
    lock = (run_dir / f"{name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    # one more line per life: the last is the living one, the others are counted as restarts
    with (run_dir / f"{name}.pid").open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    return ReplicaName(name, index, lock)
