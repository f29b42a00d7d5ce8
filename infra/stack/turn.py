"""One start of a stack at a time: the second `tollgate up` in the same folder waits until the first is done."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.stack.errors import StackError

LOCK_FILE = "up.lock"
LOOK_S = 0.1


@contextmanager
def turn_to_start(home: Path, wait_s: float, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock inside the block; the kernel releases it however the process ends.

    A start that is refused leaves a folder as it was.

    Raises:
        StackError: another process held the lock for all of ``wait_s``.
    """
    made = not home.exists()
    path = home / LOCK_FILE
    lock = _locked(path, wait_s, progress)
    try:
        yield
    finally:
        if home.is_dir() and [entry.name for entry in home.iterdir()] == [LOCK_FILE]:
            path.unlink()
            if made:
                home.rmdir()
        os.close(lock)


def _locked(path: Path, wait_s: float, progress: Callable[[str], None]) -> int:
    """The descriptor of the locked file, which holds the pid of this process."""
    end, told = time.monotonic() + wait_s, False
    while True:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode() or "?"
            os.close(lock)
        else:
            # `down --purge` may have removed the folder meanwhile: then this file locks nothing
            if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
                os.ftruncate(lock, 0)
                os.pwrite(lock, str(os.getpid()).encode(), 0)
                return lock
            os.close(lock)
            continue
        if time.monotonic() > end:
            raise StackError(
                f"`tollgate up` (pid {holder}) has been starting the stack in {path.parent} for {wait_s:.0f} s: "
                "wait for it, or stop it and run `tollgate down`"
            )
        if not told:
            progress(
                f"another `tollgate up` (pid {holder}) is starting the stack in {path.parent}: waiting for it"
            )
            told = True
        time.sleep(LOOK_S)
