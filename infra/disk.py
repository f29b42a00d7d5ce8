"""Free space on the disks that a stack writes to: limits, a check, and a wait until there is enough.

``python -m infra.disk FOLDER PROGRAM ARGUMENT...`` waits for free space at FOLDER, then becomes PROGRAM (exec).
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

#: needed to start: a new stack writes about 30 MB, and the traffic of the first hours must fit too
START_FREE_MB = 200
#: below this a disk counts as full: a restarting broker needs space for its indexes before it can serve
MIN_FREE_MB = 64
LOOK_FIRST_S, LOOK_LAST_S = 0.5, 5.0
LOG_EVERY_S = 30.0


def free_mb(folder: Path) -> int:
    """Free space of the disk that holds a folder, or will hold it, in MB (2**20 bytes)."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(there).free // 2**20


def written_to(home: Path) -> tuple[Path, ...]:
    """The folders that a stack writes to: its own, and the system's temporary folder, which holds Ray's session."""
    return (home, Path(tempfile.gettempdir()))


def shortages(folders: Iterable[Path], min_mb: int) -> list[str]:
    """One text for each folder whose disk has less than ``min_mb`` free."""
    found = ((folder, free_mb(folder)) for folder in folders)
    return [
        f"the disk of {folder} has {left:,} MB free, but {min_mb:,} MB are needed"
        for folder, left in found
        if left < min_mb
    ]


def wait_for_room(
    folder: Path,
    min_mb: int = MIN_FREE_MB,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once a folder's disk has ``min_mb`` free. Meanwhile log the reason every half minute."""
    pause_s, began, logged = LOOK_FIRST_S, clock(), False
    log_at = began
    while (left := free_mb(folder)) < min_mb:
        if clock() >= log_at:
            logger.warning(
                "the disk of %s is full (%d MB free): waiting for %d MB, %.0f s so far",
                folder, left, min_mb, clock() - began,
            )  # fmt: skip
            log_at, logged = clock() + LOG_EVERY_S, True
        sleep(pause_s)
        pause_s = min(pause_s * 2, LOOK_LAST_S)
    if logged:
        logger.warning("the disk of %s has enough free space again after %.0f s", folder, clock() - began)


def main(arguments: list[str]) -> None:
    """Wait, then become the program with the same pid."""
    folder, program = Path(arguments[0]), arguments[1:]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    wait_for_room(folder)
    sys.stdout.flush()
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
