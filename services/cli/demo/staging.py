"""What every demo does around its traffic: choose the folder, warm a new stack up, say each step, stop everything at the end."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from infra import stack
from loadtest.traffic.backlog import send_backlog
from loadtest.traffic.scoreboard import Scoreboard
from streams.runtime.settings import DEFAULT_PORT_BASE, Settings

#: file in a folder that a demo created: the next demo may empty that folder
MARKER = "made-by-demo"
START_WAIT_S = 240.0
#: for the scoreboard to read the last decisions
DRAIN_S = 5.0


class Steps:
    """Prints each step with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def __call__(self, text: str) -> None:
        click.echo(f"[{self.seconds:5.1f} s] {text}")


def stack_settings(home: Path, port_base: int | None, embedded: bool, say: Steps) -> Settings:
    """The stack that runs in a folder, or one to start there; a folder that a demo made is emptied first."""
    known = stack.existing(home)
    if known is not None and stack.is_running(known):
        say(f"using the stack that already runs in {home}; it stays running")
        return known
    if (home / MARKER).exists() and known is not None:
        stack.stop(known, purge=True, progress=say)
        known = None
    if known is None:
        home.mkdir(parents=True, exist_ok=True)
        if not any(home.iterdir()):
            (home / MARKER).write_text("`tollgate demo` made this folder and may empty it\n")
    return stack.settings_for(
        home,
        port_base or (known.port_base if known else DEFAULT_PORT_BASE),
        embedded=embedded,
        secure=known is not None and known.secure,
    )


def warm_up(settings: Settings, history: pa.Table, days: int, live_from: datetime, say: Steps) -> None:
    """Send the last days of a history, so that the stack knows the cards."""
    since = pa.scalar(live_from - timedelta(days=days), pa.timestamp("ms", tz="UTC"))
    recent = history.filter(pc.greater_equal(history["event_time"], since))
    say(f"sending the last {days} days of history: {recent.num_rows:,} transactions")
    began = time.monotonic()
    result = send_backlog(settings.kafka, settings.redis_address, recent)
    took = time.monotonic() - began
    decided = result.scored + result.degraded + result.not_scored
    say(f"{decided:,} decided in {took:.1f} s, {result.missing:,} missing")


def drain(board: Scoreboard, total: int) -> None:
    """Wait a little until the scoreboard has read every decision."""
    until = time.monotonic() + DRAIN_S
    while board.total < total and time.monotonic() < until:
        time.sleep(0.05)


@contextmanager
def stopped_after(settings: Settings, keep: bool, was_running: bool, say: Steps) -> Iterator[None]:
    """Stop the stack at the end of the block, unless it ran before, or ``keep`` is set and the block succeeded."""
    try:
        yield
    except BaseException:
        if was_running or not stack.is_running(settings):
            raise
        _stop(settings, say)
        raise
    if keep or was_running:
        home = shlex.quote(settings.home)
        click.echo(
            f"the stack stays running: `tollgate status --home {home}`; to stop it: `tollgate down --home {home}`"
        )
    else:
        _stop(settings, say)


def _stop(settings: Settings, say: Steps) -> None:
    # a second Ctrl-C must not leave half of the processes
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        say("stopping the stack")
        stack.stop(settings, progress=say)
        say("the stack is stopped")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
