"""Metrics of the rollout under way, and of one that ended badly: what alerts and dashboards see of it."""

from __future__ import annotations

from datetime import datetime, timedelta

from models.rollout.progress import Measured
from models.rollout.run import Check
from streams.contracts.rollout import RolloutRecord
from streams.runtime.metrics import ROLLOUT_CHECK, ROLLOUT_PAUSED, ROLLOUT_ROLLED_BACK, ROLLOUT_SHARE

#: how long a rollback by a guard is told
TOLD = timedelta(hours=1)


def tell(record: RolloutRecord | None, measured: Measured, now: datetime) -> None:
    """Set the metrics from the newest record and the last look."""
    for metric in (ROLLOUT_CHECK, ROLLOUT_PAUSED, ROLLOUT_ROLLED_BACK):
        metric.clear()
    run = record.run if record is not None else None
    ROLLOUT_SHARE.set(record.traffic.get("challenger", 0.0) if record is not None else 0.0)
    if record is None or run is None:
        return
    if record.state == "paused":
        ROLLOUT_PAUSED.labels(run.challenger, run.pause).set(1)
    for check in measured.checks:
        for bound, value in (("estimate", check.estimate), ("low", check.low), ("high", check.high)):
            if value is not None:
                ROLLOUT_CHECK.labels(check.name, bound).set(value)
    if record.state == "rolled_back" and record.signed_by == "rollout" and now - record.since < TOLD:
        broken = [check for check in run.checks if check.result == "fail"] or [_other(record)]
        for check in broken:
            figures = f"{_figure(check.low)} to {_figure(check.high)}"
            ROLLOUT_ROLLED_BACK.labels(run.challenger, check.name, figures, check.limit).set(
                check.estimate or 0
            )


def _other(record: RolloutRecord) -> Check:
    return Check(name="other", result="fail", n=0, estimate=None, low=None, high=None, limit=record.why[:200])


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
