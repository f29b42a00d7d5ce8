"""HAProxy processes that outlived the Ray that started them: they hold the edge's port, and no new HAProxy could listen on it."""

from __future__ import annotations

import logging
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)
END_WITHIN_S = 3.0


def end_leftovers(folder: Path) -> int:
    """End every process whose command line names a configuration in ``folder``, which is one stack's alone; returns how many.

    Call it while no Ray of the stack runs: its HAProxy would be ended too.
    """
    left = [process for process in psutil.process_iter() if _is_of(process, folder)]
    for process in left:
        logger.warning("HAProxy (pid %d) of an earlier start still runs: ending it", process.pid)
        _quietly_end(process, kill=False)
    _, stubborn = psutil.wait_procs(left, timeout=END_WITHIN_S)
    for process in stubborn:
        _quietly_end(process, kill=True)
    psutil.wait_procs(stubborn, timeout=END_WITHIN_S)
    return len(left)


def _is_of(process: psutil.Process, folder: Path) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return "-f" in words[:-1] and folder in Path(words[words.index("-f") + 1]).parents


def _quietly_end(process: psutil.Process, *, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.NoSuchProcess:
        return
