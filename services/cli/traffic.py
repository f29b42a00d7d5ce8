"""``tollgate simulate`` and ``tollgate replay``: send transactions, wait for their decisions, print a summary."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from features.transaction import epoch_ms
from infra import stack
from loadtest.traffic.measuring_client import Measurement
from loadtest.traffic.replaying import Progress
from loadtest.traffic.replaying import replay as replay_file
from loadtest.traffic.simulation import Run, Sent, Switch, natural_scale
from loadtest.traffic.simulation import simulate as run_simulation
from loadtest.traffic.simulator import DEFAULT_CARDS, create_world
from loadtest.traffic.simulator.catalog import FRAUD_KINDS
from loadtest.traffic.simulator.switches import DRIFT_KINDS
from loadtest.traffic.summary import complete, lines
from loadtest.traffic.verdicts import lines as verdict_lines
from services.cli.mapping import MAPPING_HELP, check_attributes
from services.cli.terminal.options import Number, WholeNumber, file_argument, home_option, json_option, reply
from services.cli.terminal.times import Moment
from streams.mapping import ReplayFile, load_mapping
from streams.mapping.tokens import load_or_create_key
from streams.runtime.settings import Settings, load_settings

#: default of --cards in a live run: many cards that each pay rarely; a scaled run uses DEFAULT_CARDS
LIVE_CARDS = 100_000
_wait_option = click.option(
    "--wait", "wait_s", type=Number(min=1), default=30.0, show_default=True, help="Give up after so many seconds without a new decision."
)  # fmt: skip


@click.command()
@home_option
@json_option
@click.option("--rate", type=Number(min=0, min_open=True), default=100.0, show_default=True, help="Transactions a second.")  # fmt: skip
@click.option(
    "--seconds", type=Number(min=0, min_open=True), default=10.0, show_default=True, help="Duration."
)
@click.option("--seed", type=WholeNumber(min=0), default=1, show_default=True, help="The same seed gives the same cards and habits.")  # fmt: skip
@click.option(
    "--cards",
    type=WholeNumber(1, 10_000_000),
    help=f"Number of simulated cards (default: {LIVE_CARDS:,}, with --scale {DEFAULT_CARDS:,}).",
)
@click.option(
    "--scale",
    default="0",
    metavar="X|auto",
    help="Simulated seconds per real second (default 0: real time); auto: each card pays at its natural rate.",
)
@click.option(
    "--from",
    "begin",
    type=Moment(),
    metavar="TIME",
    help="With --scale: simulated start, RFC 3339 (default: so that simulated time ends now).",
)
@click.option(
    "--drift",
    multiple=True,
    metavar="KIND@S[xSTRENGTH]",
    help=f"Drift from second S on: {', '.join(DRIFT_KINDS)}.",
)
@click.option(
    "--attack",
    multiple=True,
    metavar="KIND@S[xSTRENGTH]",
    help=f"Attack from second S on: {', '.join(FRAUD_KINDS)}.",
)
@click.option(
    "--labels/--no-labels",
    default=True,
    show_default=True,
    help="Send the labels that become due during the run.",
)
@click.option(
    "--labels-after",
    type=Number(min=0),
    metavar="S",
    help="Without --scale: send labels S seconds after their transactions instead of days; --json counts them.",
)
@click.option("--fraud-rate", type=Number(0, 0.5), default=0.008, show_default=True, help="Share of fraud.")
@click.option(
    "--id-prefix", default="", help="Letters at the start of every id (default: new ones for each run)."
)
@click.option(
    "--p99-below",
    type=Number(min=0, min_open=True),
    metavar="MS",
    help="Exit code 1 also if p99 latency is MS or more.",
)
@_wait_option
def simulate(
    home: Path, as_json: bool, rate: float, seconds: float, seed: int, cards: int | None, scale: str,
    begin: datetime | None, drift: tuple[str, ...],
    attack: tuple[str, ...], labels: bool, labels_after: float | None, fraud_rate: float, id_prefix: str, wait_s: float, p99_below: float | None,
) -> int:  # fmt: skip
    """Send simulated transactions at a fixed rate; report latency, losses and duplicates. Exit code 1: decisions are missing or duplicated."""
    settings = load_settings(home)
    cards = cards or (LIVE_CARDS if scale == "0" else DEFAULT_CARDS)
    try:
        run = Run(
            rate=rate, seconds=seconds, seed=seed, cards=cards, scale=_scale(scale, rate, seed, cards), labels=labels,
            drifts=tuple(_switch(text, DRIFT_KINDS) for text in drift),
            attacks=tuple(_switch(text, FRAUD_KINDS) for text in attack),
            id_prefix=_prefix(id_prefix), fraud_rate=fraud_rate, wait_s=wait_s, start_ms=None if begin is None else epoch_ms(begin),
            labels_after_s=labels_after,
        )  # fmt: skip
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    began, stop, line = time.monotonic(), _stop_on_signal(), _Line()

    def watch(sent: Sent, measurement: Measurement) -> None:
        line.show(
            f"sent {sent.produced:,} of {run.total:,}, decided {measurement.progress.decided:,}, labels {sent.labels:,}"
        )

    report = run_simulation(
        settings.kafka, settings.redis_address, run, tenants=settings.known_tenants, look=_looker(settings),
        stop=stop.is_set, watch=watch,
    )  # fmt: skip
    line.end()
    return _print(report, as_json, time.monotonic() - began, p99_below)


@click.command()
@file_argument
@home_option
@json_option
@click.option("--mapping", required=True, metavar="M", help=MAPPING_HELP)
@click.option(
    "--speed",
    default="max",
    show_default=True,
    metavar="X|max",
    help="Seconds of the file's time per real second.",
)
@click.option("--limit", type=WholeNumber(min=1), help="Send only the first rows.")
@click.option("--all-labels", is_flag=True, help="At the end, also send the labels that were not due yet.")
@_wait_option
def replay(
    file: Path, home: Path, as_json: bool, mapping: str, speed: str, limit: int | None, all_labels: bool, wait_s: float
) -> int:  # fmt: skip
    """Stream a Parquet or CSV file through the stack. Exit code 1: no row fits, or decisions are missing or duplicated."""
    pace = _speed(speed)
    settings = load_settings(home)
    rules = load_mapping(mapping)
    check_attributes(rules, settings)
    key = load_or_create_key(settings.keys_dir) if rules.tokenises else None
    opened = ReplayFile(file, rules, key, limit)
    began, stop, line = time.monotonic(), _stop_on_signal(), _Line()

    def watch(progress: Progress) -> None:
        rate = progress.produced / max(time.monotonic() - began, 1e-9)
        line.show(
            f"sent {progress.produced:,} of {progress.rows:,} ({rate:,.0f}/s), "
            f"decided or refused {progress.accounted:,}, labels {progress.labels:,}"
        )

    report = replay_file(
        settings.kafka, settings.redis_address, opened, speed=pace, all_labels=all_labels, wait_s=wait_s,
        tenants=settings.known_tenants,
        look=_looker(settings), stop=stop.is_set, watch=watch,
    )  # fmt: skip
    line.end()
    more = [*opened.report.lines(), f"labels sent    {report['labels_sent']:>12,}", *verdict_lines(report)]
    return _print(report, as_json, time.monotonic() - began, more=more)


def _looker(settings: Settings) -> Callable[[], list[dict[str, Any]]]:
    return lambda: stack.processes(settings)


def _print(
    report: dict[str, Any],
    as_json: bool,
    seconds: float,
    p99_below: float | None = None,
    more: Sequence[str] = (),
) -> int:
    reply(report, as_json, [*lines(report, seconds), *more])
    p99 = report["latency_ms"]["p99"]
    if p99_below is not None and (p99 is None or p99 >= p99_below):
        click.echo(f"p99 is {p99} ms, not below {p99_below:g} ms", err=True)
        return 1
    return 0 if complete(report) else 1


def _scale(text: str, rate: float, seed: int, cards: int) -> float:
    if text == "auto":
        return natural_scale(rate, create_world(seed, cards))
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--scale is a number or auto, not {text!r}") from None


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e9:
        raise click.UsageError(f"--speed is max or a number above 0, not {text!r}")
    return speed


def _switch(text: str, kinds: tuple[str, ...]) -> Switch:
    kind, _, when = text.partition("@")
    moment, _, strength = when.partition("x")
    if kind not in kinds:
        raise ValueError(f"{kind!r} is none of {', '.join(kinds)}")
    try:
        return Switch(kind, float(moment or 0), float(strength or 1))
    except ValueError:
        raise ValueError(f"{text!r} is not KIND@SECOND or KIND@SECONDxSTRENGTH") from None


def _prefix(text: str) -> str:
    if text and not (text.isascii() and text.isalpha() and len(text) <= 20):
        raise ValueError(f"--id-prefix is up to 20 ASCII letters, not {text!r}")
    return text


def _stop_on_signal() -> threading.Event:
    """An event set by the first Ctrl-C: sending ends and the summary is printed. A second Ctrl-C ends the command."""
    stop = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)
    return stop


class _Line:
    """A progress line on standard error: overwritten on a terminal, else a new line every five seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = 0.0
        #: lines of a narrow terminal that the last text filled, except the first
        self._more = 0

    def show(self, text: str) -> None:
        now = time.monotonic()
        if now - self._shown < (0.2 if self._terminal else 5.0):
            return
        self._shown = now
        if not self._terminal:
            click.echo(text, err=True)
            return
        click.echo(f"{self._back()}{text}", err=True, nl=False)
        self._more = (len(text) - 1) // shutil.get_terminal_size().columns

    def end(self) -> None:
        if self._terminal and self._shown:
            click.echo(self._back(), err=True, nl=False)

    def _back(self) -> str:
        """Goes to the start of the last text and deletes it."""
        return (f"\x1b[{self._more}A" if self._more else "") + "\r\x1b[J"
