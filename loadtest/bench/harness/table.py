"""The benchmarks' table: targets, medians with their spread, and ratios to the alternatives.

Rows that miss their first target are listed again below the table, with where their time goes.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from statistics import median

REPORTS = Path(str(files("loadtest"))) / "reports"
#: in the column `reached`
NO, AT_LEAST, THEN = "no", "at least", "then"


@dataclass(frozen=True)
class Row:
    """One row. ``runs``: values in ``unit``, compared by their median; ``factor``: the ratio to another row's median.

    ``at_least`` and ``then`` are targets; text that is not a number is shown and not compared. ``more_is_better``: a target is a
    minimum, not a maximum. ``share``: share of the runs that must reach a target, instead of the median. ``where``: what took the time.
    """

    what: str
    runs: Sequence[float] = ()
    unit: str = ""
    at_least: str = ""
    then: str = ""
    factor: str = ""
    note: str = ""
    more_is_better: bool = False
    share: float | None = None
    where: str = ""

    @property
    def middle(self) -> float:
        """Median of the runs.

        Raises:
            statistics.StatisticsError: the line was left out, so there are none.
        """
        return median(self.runs)

    @property
    def reached(self) -> str:
        """Which target was reached: ``no`` (none), ``at least``, ``then``; empty without a target or a value."""
        first, second = _target(self.at_least), _target(self.then)
        if not self.runs or (first is None and second is None):
            return ""
        if second is not None and self._reaches(second):
            return THEN
        if first is None:
            return ""
        return AT_LEAST if self._reaches(first) else NO

    def _reaches(self, target: float) -> bool:
        value = self.middle
        if self.share is not None:
            ordered = sorted(self.runs, reverse=self.more_is_better)
            value = ordered[math.ceil(self.share * len(ordered)) - 1]
        return value >= target if self.more_is_better else value <= target


def _target(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def left_out(what: str, why: str, at_least: str = "", then: str = "") -> Row:
    """A row that was not measured, with the reason."""
    # a table row must be one line
    return Row(what, at_least=at_least, then=then, note=f"not measured: {' '.join(why.split())}")


def times(row: Row, ours: Row | None) -> str:
    """The ratio of a row's median to ours; empty if either was not measured."""
    if ours is None or not ours.runs or not row.runs:
        return ""
    return f"{row.middle / ours.middle:.1f} x"


def markdown(rows: Sequence[Row]) -> str:
    """The table, one line a row."""
    lines = [
        "| what | at least | then | measured (median) | reached | runs from - to | ratio | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = (
            f"{_number(min(row.runs))} - {_number(max(row.runs))} ({len(row.runs)})"
            if len(row.runs) > 1
            else ""
        )
        note = "; ".join(filter(None, (row.note, row.where)))
        cells = (row.what, row.at_least, row.then, measured(row), row.reached, spread, row.factor, note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured(row: Row) -> str:
    """The median with its unit; empty where nothing was measured."""
    return f"{_number(row.middle)} {row.unit}".rstrip() if row.runs else ""


def conditions() -> str:
    """The machine and its load, in one line: figures of a busy machine are not comparable."""
    load, cores = os.getloadavg(), os.cpu_count() or 1
    # the benchmark itself keeps one or two cores busy
    busy = (
        ""
        if load[2] <= cores + 1
        else ": OTHER WORK RAN AT THE SAME TIME, so caches and cores were shared; repeat on a quiet machine"
    )
    values = ", ".join(f"{value:.1f}" for value in load)
    return f"{_processor()}, {cores} cores, Python {platform.python_version()}, load average {values} at the end{busy}"


def shown(rows: Iterable[Row]) -> list[Row]:
    """Print each row as soon as it is measured, to show the progress; then the whole table."""
    found = []
    for row in rows:
        print(markdown([row]).splitlines()[-1], flush=True)
        found.append(row)
    print(f"\n{markdown(found)}\n\n{conditions()}")
    return found


def chosen_sections(parser: argparse.ArgumentParser, text: str, sections: Sequence[str]) -> list[str]:
    """The sections named in an option, separated by commas; exits with an error for an unknown one."""
    chosen = text.split(",")
    if unknown := set(chosen) - set(sections):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return chosen


def write_report(rows: Sequence[Row], command: str, name: str, title: str, more: Sequence[str] = ()) -> Path:
    """Write the table with its conditions to ``<date>-<name>.md``, or to ``<date>-<name>-2.md`` and so on if that file exists.

    ``more``: paragraphs after the table. Returns the path.
    """
    today = date.today().isoformat()
    path, number = REPORTS / f"{today}-{name}.md", 1
    while path.exists():
        number += 1
        path = REPORTS / f"{today}-{name}-{number}.md"
    parts = [f"# {title} ({today})", f"`{command}`: {conditions()}.", markdown(rows), *more]
    path.write_text("\n\n".join(parts) + "\n")
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
