"""Ends our processes that are frozen, so that supervisord starts them again.

Runs in supervisord's own process. Each process of ours touches a file every second (``streams/runtime/heartbeat.py``). One whose file
has not changed for 30 s, by this process' own looks, gets SIGKILL: it cannot be asked to end. supervisord, or Ray Serve for a replica,
then starts it again, from its last offset. What was ended is written down for oncall, which counts and pages it.

Nobody is ended because this process slept: a look that comes late counts as one second, and no look counts while the files cannot be
touched (a full or failing disk).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from streams.runtime.heartbeat import FOLDER

STANDS_S = 30.0
LOOK_EVERY_S = 1.0
#: the watcher's own file in the folder
OWN = ".supervisor"
#: one JSON line for each process that was ended since the stack started: process, pid, at, stood_s
ENDED = "stood-still.jsonl"


@dataclass
class _Seen:
    """When a file was touched last, and for how long that has been so, in seconds of this process' looks."""

    touched_ns: int
    stood_s: float = 0.0


class Standstill:
    """Watches the heartbeats of one stack. ``is_ours``: whether a pid belongs to the stack, so that no stranger is ended."""

    def __init__(
        self, run_dir: Path, is_ours: Callable[[int], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = run_dir / FOLDER
        self._ended = run_dir / ENDED
        self._is_ours = is_ours
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._looked_s = clock()

    def look(self) -> list[str]:
        """Look once; returns the names of the processes that were ended."""
        now_s = self._clock()
        passed_s = min(now_s - self._looked_s, LOOK_EVERY_S)
        self._looked_s = now_s
        if not self._can_touch():
            self._seen.clear()
            return []
        return [file.name for file in self._files() if self._stands(file, passed_s) and self._end(file)]

    def _can_touch(self) -> bool:
        own = self._folder / OWN
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            before = own.stat().st_mtime_ns if own.exists() else 0
            own.touch()
            return own.stat().st_mtime_ns != before
        except OSError:
            return False

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if path.name != OWN)

    def _stands(self, file: Path, passed_s: float) -> bool:
        try:
            touched_ns = file.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        seen = self._seen.get(file.name)
        if seen is None or seen.touched_ns != touched_ns:
            self._seen[file.name] = _Seen(touched_ns)
            return False
        seen.stood_s += passed_s
        return seen.stood_s >= STANDS_S

    def _end(self, file: Path) -> bool:
        stood_s = self._seen.pop(file.name).stood_s
        words = file.read_text().split()
        # its process ended by itself, or has just begun and not written its pid
        file.unlink(missing_ok=True)
        if not words or not words[0].isdigit() or not self._is_ours(int(words[0])):
            return False
        line = {
            "process": file.name,
            "pid": int(words[0]),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "stood_s": round(stood_s),
        }
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(words[0]), signal.SIGKILL)
        with self._ended.open("a") as ended:
            ended.write(json.dumps(line) + "\n")
        return True


def ended_in(run_dir: Path) -> dict[str, int]:
    """How many times each process was ended since the stack started."""
    path = run_dir / ENDED
    counts: dict[str, int] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        # a last line that a crash cut short is left out
        with contextlib.suppress(ValueError, KeyError):
            name = json.loads(line)["process"]
            counts[name] = counts.get(name, 0) + 1
    return counts


def forget(run_dir: Path) -> None:
    """Before a stack starts: the heartbeats and the list of an earlier run say nothing of this one."""
    (run_dir / ENDED).unlink(missing_ok=True)
    for path in (run_dir / FOLDER).glob("*"):
        path.unlink(missing_ok=True)


def marked_with(mark: str, home: str) -> Callable[[int], bool]:
    """Whether a pid is a live process with the environment variable that every process of this stack has."""

    def is_ours(pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            return process.environ().get(mark) == home and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False

    return is_ours
