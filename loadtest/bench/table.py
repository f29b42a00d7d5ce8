"""What was measured, as one table: targets, medians with their spread, and what a user would pick instead."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Row:
    """One line. ``runs`` in ``unit``, of which the median counts; ``factor``: how many times another line's median."""

    what: str
    runs: Sequence[float] = ()
    unit: str = ""
    at_least: str = ""
    then: str = ""
    factor: str = ""
    note: str = ""

    @property
    def middle(self) -> float:
        """Median of the runs.

        Raises:
            statistics.StatisticsError: the line was left out, so there are none.
        """
        return median(self.runs)


def left_out(what: str, why: str, at_least: str = "", then: str = "") -> Row:
    """A line that was not measured, and why."""
    return Row(what, at_least=at_least, then=then, note=f"not measured: {why}")


def times(row: Row, ours: Row | None) -> str:
    """How many times our median a line's median is; empty when either was left out."""
    if ours is None or not ours.runs or not row.runs:
        return ""
    return f"{row.middle / ours.middle:.1f} x"


def markdown(rows: Sequence[Row]) -> str:
    """The table, one line a row."""
    lines = [
        "| what | at least | then | measured (median) | runs from - to | ratio | note |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        measured = f"{_number(row.middle)} {row.unit}" if row.runs else ""
        spread = (
            f"{_number(min(row.runs))} - {_number(max(row.runs))} ({len(row.runs)})"
            if len(row.runs) > 1
            else ""
        )
        cells = (row.what, row.at_least, row.then, measured, spread, row.factor, row.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def conditions() -> str:
    """The machine and how busy it was, in one line: figures of a busy machine are no figures."""
    load, cores = os.getloadavg(), os.cpu_count() or 1
    # the benchmark itself keeps one or two cores busy
    busy = (
        ""
        if load[2] <= cores + 1
        else ": OTHER WORK RAN BESIDE, so caches and cores were shared; repeat on a quiet machine"
    )
    values = ", ".join(f"{value:.1f}" for value in load)
    return f"{_processor()}, {cores} cores, Python {platform.python_version()}, load average {values} at the end{busy}"


def write_report(
    folder: Path, rows: Sequence[Row], command: str, name: str = "features", title: str = "What features cost"
) -> Path:
    """Write the table with its conditions to ``<date>-<name>.md``; returns the path."""
    path = folder / f"{date.today().isoformat()}-{name}.md"
    text = f"# {title} ({date.today().isoformat()})\n\n`{command}`: {conditions()}.\n\n{markdown(rows)}\n"
    path.write_text(text)
    return path


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
