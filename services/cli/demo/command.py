"""``tollgate demo``: starts the system on this machine, sends live traffic, prints a summary and stops everything."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from features.transaction import epoch_ms, from_ms
from infra import stack
from loadtest.traffic.backlog import send_backlog
from loadtest.traffic.measuring_client import Measurement
from loadtest.traffic.scoreboard import Scoreboard, Watcher
from loadtest.traffic.simulation import Run, Sent, Switch, natural_scale, simulate
from loadtest.traffic.simulator import DEFAULT_CARDS, create_world
from loadtest.traffic.summary import complete, lines
from models.bundle.content import MODEL
from services.cli.demo.view import View, truth
from services.cli.models.first_model import SEED, simulated_history, start_with_model
from services.cli.stack import addresses, first_link
from services.cli.terminal.options import Number, home_option
from streams.runtime.settings import DEFAULT_PORT_BASE, Settings

#: days of history sent through the stack before the live traffic, so that it knows the cards
WARM_DAYS = 7
#: file in a folder that a demo created: the next demo may empty that folder
MARKER = "made-by-demo"
START_WAIT_S = 240.0


@click.command()
@home_option
@click.option(
    "--seconds",
    type=Number(1, 86_400),
    default=60.0,
    show_default=True,
    help="Duration of live traffic.",
)
@click.option(
    "--rate",
    type=Number(1, 100_000),
    default=500.0,
    show_default=True,
    help="Transactions a second.",
)
@click.option("--keep", is_flag=True, help="Leave the stack running (also KEEP=1).")
@click.option("--port-base", type=int, metavar="N", help=f"First port (default: {DEFAULT_PORT_BASE}).")
@click.option("--embedded", is_flag=True, help="Use a mock broker in place of Kafka (also EMBEDDED=1).")
def demo(home: Path, seconds: float, rate: float, keep: bool, port_base: int | None, embedded: bool) -> int:
    """Start a stack, train a first model, send live traffic with an attack, show the results, stop the stack."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    keep = keep or os.environ.get("KEEP", "") not in ("", "0")
    say = _Steps()
    settings = _settings(home, port_base, embedded or os.environ.get("EMBEDDED", "") not in ("", "0"), say)
    world = create_world(SEED)
    scale = natural_scale(rate, world)
    live_from = from_ms(int((time.time() - seconds * scale) * 1000))
    run = Run(
        rate=rate, seconds=seconds, seed=SEED, cards=DEFAULT_CARDS, scale=scale, start_ms=epoch_ms(live_from),
        attacks=(Switch("card_testing", seconds * 0.4), Switch("account_takeover", seconds * 0.6, 0.5)),
    )  # fmt: skip
    running = stack.is_running(settings)
    with _stopped_after(settings, keep, running, say):
        history = simulated_history(live_from, say, world)
        settings, version = start_with_model(
            settings, lambda: history, wait_s=START_WAIT_S, progress=say, settle=False
        )
        say(f"the console: {settings.console}. {first_link(settings, datetime.now(UTC)) or ''}".rstrip())
        _warm_up(settings, history, live_from, say)
        say(
            f"{MODEL} {version} is live; a simulated day takes {86_400 / run.scale:.1f} s, an attack starts after {seconds * 0.4:.0f} s"
        )
        return _live(settings, run, say)


def _settings(home: Path, port_base: int | None, embedded: bool, say: _Steps) -> Settings:
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


def _warm_up(settings: Settings, history: pa.Table, live_from: datetime, say: _Steps) -> None:
    since = pa.scalar(live_from - timedelta(days=WARM_DAYS), pa.timestamp("ms", tz="UTC"))
    recent = history.filter(pc.greater_equal(history["event_time"], since))
    say(f"sending the last {WARM_DAYS} days of history: {recent.num_rows:,} transactions")
    began = time.monotonic()
    result = send_backlog(settings.kafka, settings.redis_address, recent, lambda _count: None)
    took = time.monotonic() - began
    decided = result.scored + result.degraded + result.not_scored
    say(f"{decided:,} decided in {took:.1f} s, {result.missing:,} missing")


def _live(settings: Settings, run: Run, say: _Steps) -> int:
    board = Scoreboard()
    where = addresses(settings)
    with Watcher(settings.kafka, board), View(where, run.total) as view:

        def watch(sent: Sent, _measurement: Measurement) -> None:
            view.show(board, sent.produced, sent.labels)

        report = simulate(
            settings.kafka, settings.redis_address, run, look=lambda: stack.processes(settings), watch=watch,
            on_block=lambda block: board.known(block.table),
        )  # fmt: skip
        _drain(board, run.total)
    say("summary")
    click.echo("\n".join([*lines(report, run.seconds), "", *truth(board), "", where]))
    return 0 if complete(report) else 1


def _drain(board: Scoreboard, total: int) -> None:
    """Wait up to 5 s until the scoreboard has read every decision."""
    until = time.monotonic() + 5.0
    while board.total < total and time.monotonic() < until:
        time.sleep(0.05)


@contextmanager
def _stopped_after(settings: Settings, keep: bool, was_running: bool, say: _Steps) -> Iterator[None]:
    """Stop the stack at the end of the block, unless it ran before, or ``keep`` is set and the block succeeded."""
    try:
        yield
    except BaseException:
        if was_running or not stack.is_running(settings):
            raise
        _stop(settings, say)
        raise
    if keep or was_running:
        click.echo(
            f"the stack stays running: `tollgate status --home {settings.home}`; to stop it: `tollgate down --home {settings.home}`"
        )
    else:
        _stop(settings, say)


def _stop(settings: Settings, say: _Steps) -> None:
    # a second Ctrl-C must not leave half of the processes
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        say("stopping the stack")
        stack.stop(settings, progress=say)
        say("the stack is stopped")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Steps:
    """Prints each step with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        click.echo(f"[{time.monotonic() - self._began:5.1f} s] {text}")
