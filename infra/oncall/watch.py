"""Asks every process of a stack again and again whether it answers; the answers are the gauge ``tollgate_process_up``.

Each process has a thread of its own here, so that one that hangs delays no other's answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from infra.stack.health.asking import STARTING_S, NoAnswer, Watched
from streams.runtime.metrics import PROCESS_UP

logger = logging.getLogger(__name__)

#: seconds between two questions to one process
EVERY_S = 5.0


@dataclass
class Verdict:
    """What is known of one process. Times are seconds of the monotonic clock."""

    name: str
    began_s: float
    answered: bool = False
    #: None while it counts as starting
    up: bool | None = None

    def heard(self, answers: bool, now_s: float) -> bool | None:
        """Take one answer, or its absence. Returns the new state where it changed, else None."""
        self.answered = self.answered or answers
        if not self.answered and now_s - self.began_s < STARTING_S:
            return None
        if self.up is answers:
            return None
        self.up = answers
        return answers


def watch(processes: Iterable[Watched], stop: threading.Event) -> list[threading.Thread]:
    """Start watching; each thread ends within ``EVERY_S`` after ``stop`` is set."""
    threads = [
        threading.Thread(target=_follow, args=(process, stop), name=f"watch-{process.name}", daemon=True)
        for process in processes
    ]
    for thread in threads:
        thread.start()
    return threads


def _follow(process: Watched, stop: threading.Event) -> None:
    verdict = Verdict(process.name, time.monotonic())
    while not stop.is_set():
        try:
            process.ask()
            why = ""
        except NoAnswer as error:
            why = str(error) or type(error).__name__
        changed = verdict.heard(not why, time.monotonic())
        if changed is not None:
            PROCESS_UP.labels(process.name).set(changed)
            if changed:
                logger.info("%s answers", process.name)
            else:
                logger.error("%s does not answer: %s", process.name, why)
        stop.wait(EVERY_S)
