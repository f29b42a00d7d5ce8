"""Names of replicas: Serve's own are random, but ports, pid files and `tollgate status` need `scoring-stream-0`.

The first free index is taken by a file lock, which the kernel gives back when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

MAX_REPLICAS = 64


class NoNameLeft(Exception):
    """More replicas than names."""


class ReplicaName:
    """A held name; the lock lives as long as this object and its process."""

    def __init__(self, name: str, index: int, lock: IO[str]) -> None:
        self.name = name
        self.index = index
        self._lock = lock


def take_name(run_dir: Path, prefix: str) -> ReplicaName:
    """Take ``prefix-i`` with the lowest free i, and write the pid to ``run_dir/prefix-i.pid``.

    Raises:
        NoNameLeft: all of MAX_REPLICAS are held.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    for index in range(MAX_REPLICAS):
        lock = (run_dir / f"{prefix}-{index}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        # one more line per life: the last is the living one, the others are counted as restarts
        with (run_dir / f"{prefix}-{index}.pid").open("a") as pids:
            pids.write(f"{os.getpid()}\n")
        return ReplicaName(f"{prefix}-{index}", index, lock)
    raise NoNameLeft(f"{MAX_REPLICAS} replicas of {prefix} run already in {run_dir}")
