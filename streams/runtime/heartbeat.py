"""A process' heartbeat: a file of its own, touched every second for as long as the process moves.

A thread beats, so that a process which compiles, replays or waits for Kafka or Redis beats too: all of these have limits of their own.
What stops the beat is a process that stands still as a whole (frozen, or a lock that is never released), or a main loop that has not
come round for longer than all waits together may take. Whoever supervises the process then ends it (``infra/stack/health/standstill.py``).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

BEAT_S = 1.0
#: one chunk may wait 150 s for the store and 150 s for the broker before its process gives up by itself
LOOP_STANDS_S = 360.0
FOLDER = "heartbeat"


class Heartbeat:
    """The beat of this process. Before ``begin`` nothing is written: so it is in tests that run a loop in their own process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved_s: float | None = None

    def moves(self) -> None:
        """The main loop came round. A loop that has called this once must go on calling it."""
        self._moved_s = self._clock()

    @contextlib.contextmanager
    def rests(self) -> Iterator[None]:
        """The main loop waits for something that has a limit of its own, such as a child process that trains for minutes."""
        self._moved_s = None
        try:
            yield
        finally:
            self.moves()

    @property
    def alive(self) -> bool:
        """Whether there is a reason to beat."""
        return self._moved_s is None or self._clock() - self._moved_s < LOOP_STANDS_S

    def begin(self, run_dir: Path, name: str) -> None:
        """Beat from now on, in ``run_dir/heartbeat/name``, which holds the pid."""
        file = run_dir / FOLDER / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{os.getpid()}\n")
        threading.Thread(target=self._beat, args=(file,), name="heartbeat", daemon=True).start()

    def _beat(self, file: Path) -> None:
        while True:
            if self.alive:
                # a disk that fails is no reason to end this thread; the supervisor's own file fails with it
                with contextlib.suppress(OSError):
                    os.utime(file)
            time.sleep(BEAT_S)
