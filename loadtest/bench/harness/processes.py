"""Processes that a benchmark started, with their children: wait for readiness, CPU time, stop."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

from loadtest.peers.installing import CHECKOUT, PeerError

ASKED_S, KILLED_S = 60.0, 20.0


@contextmanager
def running_once_said(
    command: Sequence[str], wanted: Callable[[str], bool], within_s: float
) -> Iterator[tuple[psutil.Process, str]]:
    """A peer's process once it has printed a line that is ``wanted``, and that line; ended afterwards with its children.

    Raises:
        PeerError: it ended before, or did not print one within ``within_s``; with what it wrote last to standard error.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        watchdog = threading.Timer(within_s, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            line = next(filter(wanted, process.stdout), None)
            if line is None:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().splitlines()
                raise PeerError(f"it ended, or took more than {within_s:g} s: {said[-1] if said else ''}")
            watchdog.cancel()
            # drain the rest of its output, so that the pipe does not fill
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield psutil.Process(process.pid), line
        finally:
            watchdog.cancel()
            end(process)


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process and of the children that it has now, seconds."""
    return float(sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True))))


def end(process: subprocess.Popen[Any]) -> None:
    """Terminate a process and its children, then kill what is left."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(ASKED_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(KILLED_S)
    for child in psutil.wait_procs(children, timeout=5)[1]:
        child.kill()
