"""``tollgate demo``: starts the system on this machine, sends live traffic, prints a summary and stops everything."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from features.transaction import epoch_ms, from_ms
from infra import stack
from loadtest.traffic.measuring_client import Measurement
from loadtest.traffic.scoreboard import Scoreboard, Watcher
from loadtest.traffic.simulation import Run, Sent, Switch, natural_scale, simulate
from loadtest.traffic.simulator import DEFAULT_CARDS, create_world
from loadtest.traffic.summary import complete, lines
from models.bundle.content import MODEL
from services.cli.demo.staging import START_WAIT_S, Steps, drain, stack_settings, stopped_after, warm_up
from services.cli.demo.story import play
from services.cli.demo.view import View, truth
from services.cli.models.first_model import SEED, simulated_history, start_with_model
from services.cli.stack import addresses, first_link
from services.cli.terminal.options import Number, home_option
from streams.runtime.settings import DEFAULT_PORT_BASE, Settings

#: days of history sent through the stack before the live traffic, so that it knows the cards
WARM_DAYS = 7
SECONDS = 60.0


@click.command()
@home_option
@click.option(
    "--seconds",
    type=Number(1, 86_400),
    help=f"Duration of live traffic (default: {SECONDS:g}; a story takes as long as it takes).",
)
@click.option(
    "--rate",
    type=Number(1, 100_000),
    default=500.0,
    show_default=True,
    help="Transactions a second.",
)
@click.option(
    "--story",
    type=click.Choice(["attack"]),
    help="attack: an attack that the model does not know, drift, a new model with its approval and rollout, a harmful one undone.",
)
@click.option("--keep", is_flag=True, help="Leave the stack running (also KEEP=1).")
@click.option("--port-base", type=int, metavar="N", help=f"First port (default: {DEFAULT_PORT_BASE}).")
@click.option("--embedded", is_flag=True, help="Use a mock broker in place of Kafka (also EMBEDDED=1).")
def demo(
    home: Path, seconds: float | None, rate: float, story: str | None, keep: bool, port_base: int | None, embedded: bool
) -> int:  # fmt: skip
    """Start a stack, train a first model, send live traffic with an attack, show the results, stop the stack."""
    if story is not None and seconds is not None:
        raise click.UsageError("--seconds is for the demo without a story")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    keep = keep or os.environ.get("KEEP", "") not in ("", "0")
    embedded = embedded or os.environ.get("EMBEDDED", "") not in ("", "0")
    say = Steps()
    if story is not None:
        return play(home, rate, keep=keep, port_base=port_base, embedded=embedded, say=say)
    settings = stack_settings(home, port_base, embedded, say)
    seconds = seconds or SECONDS
    world = create_world(SEED)
    scale = natural_scale(rate, world)
    live_from = from_ms(int((time.time() - seconds * scale) * 1000))
    run = Run(
        rate=rate, seconds=seconds, seed=SEED, cards=DEFAULT_CARDS, scale=scale, start_ms=epoch_ms(live_from),
        attacks=(Switch("card_testing", seconds * 0.4), Switch("account_takeover", seconds * 0.6, 0.5)),
    )  # fmt: skip
    running = stack.is_running(settings)
    with stopped_after(settings, keep, running, say):
        history = simulated_history(live_from, say, world)
        settings, version = start_with_model(
            settings, lambda: history, wait_s=START_WAIT_S, progress=say, settle=False
        )
        say(f"the console: {settings.console}. {first_link(settings, datetime.now(UTC)) or ''}".rstrip())
        warm_up(settings, history, WARM_DAYS, live_from, say)
        say(
            f"{MODEL} {version} is live; a simulated day takes {86_400 / run.scale:.1f} s, an attack starts after {seconds * 0.4:.0f} s"
        )
        return _live(settings, run, say)


def _live(settings: Settings, run: Run, say: Steps) -> int:
    board = Scoreboard()
    where = addresses(settings)
    with Watcher(settings.kafka, board), View(where, run.total) as view:

        def watch(sent: Sent, _measurement: Measurement) -> None:
            view.show(board, sent.produced, sent.labels)

        report = simulate(
            settings.kafka, settings.redis_address, run, look=lambda: stack.processes(settings), watch=watch,
            on_block=lambda block: board.known(block.table),
        )  # fmt: skip
        drain(board, run.total)
    say("summary")
    click.echo("\n".join([*lines(report, run.seconds), "", *truth(board), "", where]))
    return 0 if complete(report) else 1
