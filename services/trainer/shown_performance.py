"""Live performance as metrics: measured in a child process when new labels were archived, shown by the trainer.

Run as ``python -m services.trainer.shown_performance --home H``; the last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from models.performance.drop import Drop, drops
from models.performance.figures import Performance, performance
from models.training.dataset import DAY_MS
from services.trainer.jobs import JobFailed, end_with_parent, run_job
from streams.archive.decided_rows import decided_rows
from streams.log.topics import OUTCOMES
from streams.runtime.metrics import PERFORMANCE, PERFORMANCE_DROP, PERFORMANCE_MONEY
from streams.runtime.process import log_json_lines
from streams.runtime.settings import Settings, load_settings

logger = logging.getLogger(__name__)
#: what the metrics are made from: a week, the four before it, and the week in which labels mature
BACK_MS = 42 * DAY_MS
EVERY_S = 600.0
MEASURE_S = 300.0
#: below the hot path
NICENESS = 15
_RATIOS = ("precision", "recall", "calibration", "false_alarms_per_fraud", "review_load")

Measure = Callable[[Settings, threading.Event], dict[str, Any] | None]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the child process found; both empty where nothing is archived."""

    performance: list[Performance] = []
    drops: list[Drop] = []


def measure_in_process(settings: Settings, stop: threading.Event) -> dict[str, Any] | None:
    """Measure in a child process; None if asked to stop.

    Raises:
        JobFailed: as ``run_job``.
    """
    return run_job(
        "services.trainer.shown_performance", ["--home", settings.home], stop=stop, timeout_s=MEASURE_S
    )


class ShownPerformance:
    """The metrics of one stack. ``look`` is called often and measures at most every ``EVERY_S``, if labels were archived since."""

    def __init__(self, settings: Settings, measure: Measure = measure_in_process) -> None:
        self._settings, self._measure = settings, measure
        self._next_s = 0.0
        self._seen: tuple[int, int] = (0, 0)

    def look(self, stop: threading.Event, now_s: float) -> None:
        """Measure and show if it is time. ``now_s``: of a monotonic clock. A failure is logged and tried again later."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + EVERY_S
        files = list((self._settings.archive_dir / OUTCOMES.name).glob("date=*/*.parquet"))
        there = len(files), max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)
        if there == self._seen:
            return
        try:
            found = self._measure(self._settings, stop)
        except JobFailed as error:
            logger.error("live performance was not measured, will be tried again: %s", error)
            return
        if found is not None:
            show(msgspec.convert(found, Measured))
            self._seen = there


def show(found: Measured) -> None:
    """Set the gauges; groups and currencies that are not there any more lose their values."""
    for gauge in (PERFORMANCE, PERFORMANCE_MONEY, PERFORMANCE_DROP):
        gauge.clear()
    for one in found.performance:
        values = {name: getattr(one, name).estimate for name in _RATIOS}
        values |= {"label_coverage": one.label_coverage, "open": float(one.open)}
        for figure, value in values.items():
            if value is not None:
                PERFORMANCE.labels(one.kind, one.group, figure).set(value)
        for money in one.money if one.kind == "all" else ():
            for what in ("caught", "lost", "honest_stopped"):
                PERFORMANCE_MONEY.labels(money.currency, what).set(getattr(money, f"{what}_minor"))
    for drop in found.drops:
        for bound, value in (("estimate", drop.drop), ("low", drop.low), ("high", drop.high)):
            PERFORMANCE_DROP.labels(drop.figure, bound).set(value)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True)
    parser.add_argument("--parent", type=int, help="end when the process with this id ends")
    args = parser.parse_args()
    if args.parent is not None:
        end_with_parent(args.parent)
    os.nice(NICENESS)
    log_json_lines("trainer-performance")
    past = decided_rows(load_settings(args.home).archive_dir, BACK_MS)
    found = Measured(performance=performance(past.rows), drops=drops(past.rows)) if past else Measured()
    print(json.dumps(msgspec.to_builtins(found)))


if __name__ == "__main__":
    main()
