"""The demo on a screen: a live table on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtest.traffic.scoreboard import Scoreboard

PLAIN_EVERY_S = 5.0
_KINDS = ("card_testing", "stolen_card", "account_takeover", "compromised_merchant", "bust_out")


class View:
    """Shows a scoreboard. A context manager; ``show`` is cheap enough for ten calls a second."""

    def __init__(self, addresses: str, total: int) -> None:
        self._addresses, self._total = addresses, total
        self._terminal = sys.stdout.isatty()
        self._live = Live(console=Console(), auto_refresh=False, transient=True) if self._terminal else None
        self._shown = 0.0

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, board: Scoreboard, sent: int, labels: int) -> None:
        """Draw at most four times a second on a terminal, else print a line every five seconds."""
        now = time.monotonic()
        if now - self._shown < (0.25 if self._live else PLAIN_EVERY_S):
            return
        self._shown = now
        if self._live:
            self._live.update(self._screen(board, sent, labels, now), refresh=True)
        else:
            click.echo(line(board, sent, self._total, now))

    def _screen(self, board: Scoreboard, sent: int, labels: int, now: float) -> Group:
        rate, p50, p99 = board.recent(now)
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_row("sent", f"{sent:,} of {self._total:,}", "waiting", f"{max(0, sent - board.total):,}")
        table.add_row(
            "decided", f"{board.total:,} ({rate:,.0f}/s)", "latency", f"p50 {_ms(p50)}  p99 {_ms(p99)}"
        )
        table.add_row("decisions", _counts(board.decisions), "made by", _counts(board.statuses))
        table.add_row(
            "fraud stopped", _share(board.caught.total(), board.fraud.total()),
            "false alarms", _share(board.false_alarms, board.honest, 2),
        )  # fmt: skip
        table.add_row("late labels", f"{labels:,} sent", "outcomes", f"{board.outcomes:,}")
        table.add_row("drift", drift(board), "retraining", f"{len(board.retraining)} requests")
        kinds = Table("fraud so far", "seen", "stopped", box=None, padding=(0, 2))
        for kind in _KINDS:
            kinds.add_row(
                kind.replace("_", " "),
                f"{board.fraud[kind]:,}",
                _share(board.caught[kind], board.fraud[kind]),
            )
        return Group(
            Text("Tollgate", style="bold"),
            table,
            Text(""),
            kinds,
            Text(""),
            Text(self._addresses, style="dim"),
        )


def line(board: Scoreboard, sent: int, total: int, now: float) -> str:
    """The scoreboard as one line of text."""
    rate, p50, p99 = board.recent(now)
    return (
        f"sent {sent:,} of {total:,}, decided {board.total:,} ({rate:,.0f}/s), p50 {_ms(p50)}, p99 {_ms(p99)}, "
        f"{_counts(board.decisions)}, fraud stopped {board.caught.total():,} of {board.fraud.total():,}, "
        f"false alarms {board.false_alarms:,}, outcomes {board.outcomes:,}, drift {drift(board)}"
    )


def truth(board: Scoreboard) -> list[str]:
    """The final result: fraud stopped by kind, false alarms, drift."""
    out = [f"{'fraud':<22}{'seen':>8}{'stopped':>9}"]
    out += [f"{kind.replace('_', ' '):<22}{board.fraud[kind]:>8,}{board.caught[kind]:>9,}" for kind in _KINDS]
    out.append(
        f"false alarms: {_share(board.false_alarms, board.honest, 2)} honest payments were reviewed or declined"
    )
    out.append(
        f"drift: {drift(board)}; {len(board.retraining)} retraining requests; {board.outcomes:,} outcomes from late labels"
    )
    return out


def drift(board: Scoreboard) -> str:
    """The features whose newest drift severity is not ``none``."""
    raised = sorted(feature for feature, severity in board.drift.items() if severity != "none")
    if not board.drift:
        return "not tested yet"
    if not raised:
        return "none"
    more = f" and {len(raised) - 3} more" if len(raised) > 3 else ""
    return f"{len(raised)} of {len(board.drift)} features ({', '.join(raised[:3])}{more})"


def _counts(counter: Counter[str]) -> str:
    return "  ".join(f"{name} {count:,}" for name, count in sorted(counter.items())) or "none yet"


def _share(part: int, whole: int, digits: int = 0) -> str:
    return f"{part:,} of {whole:,}" + (f" ({part / whole:.{digits}%})" if whole else "")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
