"""What is asked of the drift stream, and a table of what it did: at most one alarm a month without change, each drift in time."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.bench.drift.traffic import Maker, Scenario

ROOT = Path(__file__).parents[3]
DRIFT_PYTHON = ROOT / ".venv-drift" / "bin" / "python"
#: the window in which a drift begins and the three that confirm it
WITHIN_PAYMENTS = 4_000
RUN_S = 1_800


@dataclass(frozen=True)
class Line:
    """One scenario: ``hours`` from the drift's start to the first confirmed finding, None if there was none; ``limit`` of hours."""

    name: str
    days: float
    rounds: int
    false_alarms: int
    hours: float | None
    limit: float | None
    found: tuple[str, ...]
    largest: tuple[str, float]

    @property
    def holds(self) -> bool:
        """No more than one false alarm a month, and the drift in time."""
        allowed = max(1, round(self.days / 30)) if self.limit is None else 0
        in_time = self.limit is None or (self.hours is not None and self.hours <= self.limit)
        return self.false_alarms <= allowed and in_time


def run(maker: Maker, scenarios: Sequence[Scenario], folder: Path) -> list[Line]:
    """Make the scenarios, run the drift stream's rounds over each in its own environment, and judge them.

    Raises:
        CalledProcessError, TimeoutExpired: the rounds failed; standard error says why.
    """
    for scenario in scenarios:
        maker.write(scenario, folder)
    done = subprocess.run(
        [str(DRIFT_PYTHON), "-m", "loadtest.bench.drift.watching", str(folder), *(one.name for one in scenarios)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=True,
    )  # fmt: skip
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [_line(scenario, answer) for scenario, answer in zip(scenarios, said, strict=True)]


def _line(scenario: Scenario, said: dict[str, Any]) -> Line:
    changes = bool(scenario.drift or scenario.empty)
    true = [alarm for alarm in said["alarms"] if changes and alarm["hours_after"] >= 0]
    first = min((alarm["hours_after"] for alarm in true), default=None)
    per_hour = said["payments"] / (24 * said["days"])
    effects = {
        name: size for name, size in said["largest_effect"].items() if not name.startswith("classifier")
    }
    return Line(
        scenario.name, said["days"], said["rounds"], len(said["alarms"]) - len(true), first,
        WITHIN_PAYMENTS / per_hour if changes else None, tuple(sorted({f"{alarm['finding']} ({alarm['severity']})" for alarm in true})),
        max(effects.items(), key=lambda item: item[1]),
    )  # fmt: skip


def shown(lines: Sequence[Line]) -> str:
    """The table in Markdown."""
    out = [
        "| scenario | days | windows | false alarms | found after | within | found by | largest PSI | holds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        after = "-" if line.limit is None else "not" if line.hours is None else f"{line.hours:.1f} h"
        within = "-" if line.limit is None else f"{line.limit:.1f} h"
        out.append(
            f"| {line.name} | {line.days:g} | {line.rounds} | {line.false_alarms} | {after} | {within} | "
            f"{', '.join(line.found) or '-'} | {line.largest[0]} {line.largest[1]:.3f} | {'yes' if line.holds else 'NO'} |"
        )
    return "\n".join(out)
