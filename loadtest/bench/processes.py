"""Processes that a benchmark started: what they have used, and their end; with their children."""

from __future__ import annotations

import subprocess
from typing import Any

import psutil

ASKED_S, KILLED_S = 60.0, 20.0


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process and of the children that it has now, seconds."""
    return float(sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True))))


def end(process: subprocess.Popen[Any]) -> None:
    """Asked first, then made to; its children go with it."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(ASKED_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(KILLED_S)
    for child in psutil.wait_procs(children, timeout=5)[1]:
        child.kill()
