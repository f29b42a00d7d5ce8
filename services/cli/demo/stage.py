"""The stage of a story: traffic in the background, the product's own commands in front, and waits that end."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from infra import stack
from loadtest.traffic.measuring_client import Measurement
from loadtest.traffic.scoreboard import Scoreboard
from loadtest.traffic.simulation import Run, Sent, simulate
from services.cli.demo.phases import Phases
from services.cli.demo.staging import Steps
from streams.runtime.settings import Settings

Found = TypeVar("Found")
#: a command of a busy machine imports for seconds
COMMAND_S = 180.0
LOOK_S, SHOW_S, END_S = 0.2, 5.0, 120.0


class StoryStuck(Exception):
    """The story cannot go on; the text says what did not happen."""

    exit_code = 1


class Traffic:
    """A simulated run on a thread of its own, until the block ends. ``report``: its summary, once it has."""

    def __init__(self, settings: Settings, run: Run, board: Scoreboard) -> None:
        self._settings, self._run, self._board = settings, run, board
        self._stop = threading.Event()
        self._sent = Sent()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="traffic", daemon=True)
        self.report: dict[str, Any] | None = None

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(END_S)

    @property
    def sent(self) -> int:
        """Transactions so far."""
        return self._sent.produced

    @property
    def day(self) -> float:
        """The simulated day, from 0 on."""
        return self._sent.produced / self._run.rate * self._run.scale / 86_400

    def check(self) -> None:
        """Raises: StoryStuck: the traffic has ended."""
        if not self._thread.is_alive():
            raise StoryStuck(f"the traffic ended early: {self._failure or 'the story took longer than it'}")

    def _work(self) -> None:
        def watch(sent: Sent, _measurement: Measurement) -> None:
            self._sent = sent

        try:
            self.report = simulate(
                self._settings.kafka, self._settings.redis_address, self._run, stop=self._stop.is_set, watch=watch,
                look=lambda: stack.processes(self._settings), on_block=lambda block: self._board.known(block.table),
            )  # fmt: skip
        except BaseException as error:  # noqa: BLE001 - told by ``check``, on the story's thread
            self._failure = error


class Stage:
    """What a story acts with."""

    def __init__(
        self, settings: Settings, traffic: Traffic, board: Scoreboard, phases: Phases, say: Steps
    ) -> None:
        self.settings, self.traffic, self.board, self.phases, self.say = (
            settings, traffic, board, phases, say,
        )  # fmt: skip
        self._shown = time.monotonic()

    def command(self, *arguments: str, codes: tuple[int, ...] = (0,), as_json: bool = True) -> Any:
        """Run one of the product's commands, as a person would; returns what it prints as JSON.

        Raises:
            StoryStuck: its exit code is none of ``codes``, or it does not end.
        """
        self.say(f"$ tollgate {shlex.join(arguments)}")
        command = [sys.executable, "-m", "services.cli.main", *arguments, "--home", self.settings.home]
        try:
            done = subprocess.run(
                [*command, "--json"] if as_json else command, capture_output=True, text=True, timeout=COMMAND_S, check=False,
                cwd=Path(__file__).parents[3],
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise StoryStuck(f"`tollgate {arguments[0]}` did not end within {COMMAND_S:g} s") from None
        if done.returncode not in codes:
            said = (done.stderr.strip() or done.stdout.strip())[-1_000:]
            raise StoryStuck(f"`tollgate {shlex.join(arguments)}` ended with {done.returncode}: {said}")
        return json.loads(done.stdout) if as_json else None

    def wait(self, condition: Callable[[], Found | None], within_s: float, what: str) -> Found:
        """Wait until ``condition`` gives something, while figures are printed.

        Raises:
            StoryStuck: nothing within ``within_s``, or the traffic ended.
        """
        until = time.monotonic() + within_s
        while True:
            found = condition()
            if found:
                return found
            self.traffic.check()
            self._show()
            if time.monotonic() > until:
                raise StoryStuck(f"{what} did not come within {within_s:g} s")
            time.sleep(LOOK_S)

    def until_day(self, day: float, within_s: float) -> None:
        """Wait for a simulated day. Raises: StoryStuck."""
        self.wait(lambda: self.traffic.day >= day, within_s, f"simulated day {day:g}")

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown < SHOW_S:
            return
        self._shown = now
        rate, p50, p99 = self.board.recent(now)
        latency = "" if p50 is None or p99 is None else f", p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        self.say(
            f"  day {self.traffic.day:4.1f}: {rate:,.0f} decisions/s{latency}; in this phase: {self.phases.now.told()}"
        )
