"""A challenger faces the live model: both decide the same matured rows, which neither has seen, with the whole live policy.

Rows are unseen if they are newer than everything that either model, its calibration and its thresholds were made from. The
policy is the challenger's with all that people set in the live one: that is what would go live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any, Literal

import msgspec
import numpy as np

from features.transaction import epoch_ms
from models.policy.comparison import Comparison, PastRows
from models.policy.rules.columns import TableColumns
from models.training.dataset import Dataset
from models.training.gates.check import GateCheck
from models.training.gates.curves import Curves, curves
from models.training.gates.fairness import GroupRate, fairness_checks
from models.training.gates.leaks import leak_checks
from models.training.gates.limits import LIMITS, Limits
from models.training.gates.operation import latency_check, rules_check, size_check, stability_check
from models.training.gates.quality import (
    average_precision_check,
    calibration_check,
    false_alarm_check,
    money_checks,
    record_check,
)
from models.training.gates.resampling import Draws
from models.training.gates.side import Contender, Side, decided

#: newest unseen rows that are judged on
MAX_ROWS = 100_000
Verdict = Literal["pass", "fail"]


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What the gates found. ``live``: the version it was compared with, None if none was live.

    ``unseen_from_ms``: event time after which rows are unseen by both. ``whole_policy``: the rows' fields are known, so that lists,
    rules on fields, thresholds by tenant and expected loss took part. ``comparison``: decisions and money by currency under both
    models. ``hidden_groups``: groups and rates that were too small to be shown.
    """

    verdict: Verdict
    candidate: str
    live: str | None
    judged_at: datetime
    rows: int
    frauds: int
    unseen_from_ms: int | None
    to_ms: int | None
    whole_policy: bool
    checks: list[GateCheck]
    groups: list[GroupRate] = []
    hidden_groups: int = 0
    comparison: dict[str, Any] = {}
    curves: dict[str, Curves] = {}

    @property
    def reasons(self) -> list[str]:
        """Why it is rejected; empty if it is not."""
        return [f"{check.name}: {check.why}" for check in self.checks if check.stops]

    def summary(self) -> dict[str, Any]:
        """For the bundle's evaluation: everything but the points of the plots."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        del found["curves"]
        return found


def unseen(rows: Dataset, candidate: Contender, live: Contender | None) -> tuple[Dataset, int | None]:
    """The newest rows (at most ``MAX_ROWS``) that neither has seen, and the event time that they are newer than, ms."""
    return newest_unseen(rows, [found for found in (candidate, live) if found is not None])


def newest_unseen(rows: Dataset, contenders: Iterable[Contender]) -> tuple[Dataset, int | None]:
    """The newest rows (at most ``MAX_ROWS``) that none has seen, and the event time that they are newer than, ms."""
    since = max((each.seen_until_ms for each in contenders if each.seen_until_ms is not None), default=None)
    places = np.flatnonzero(rows.event_ms > since) if since is not None else np.arange(len(rows))
    return rows.take(places[-MAX_ROWS:]), since


def seen_until(lineage: Mapping[str, Any]) -> int | None:
    """Event time (ms) of the newest row that a bundle's model, calibration or thresholds were made from; None: not known."""
    parts = lineage.get("parts")
    found = [
        part["to_ms"]
        for name, part in (parts.items() if isinstance(parts, dict) else ())
        if name in ("train", "calibrate") and isinstance(part, dict) and isinstance(part.get("to_ms"), int)
    ]
    return max(found, default=None)


def judge(
    candidate: Contender, live: Contender | None, rows: Dataset, *, now: datetime, limits: Limits = LIMITS,
    clock: Callable[[], float] = perf_counter, protected: Sequence[str] = (),
) -> Judgement:  # fmt: skip
    """Hold the candidate against the live model.

    Args:
        live: None where no model is live: only what needs no other model is checked.
        rows: matured rows with known labels, in order of event time; those that one of the two has seen are left out.
        now: for expiries of rules and lists.
        clock: seconds, for the latency gate.
        protected: names of attributes that no model takes, by which fairness is judged too.
    """
    rows, since = unseen(rows, candidate, live)
    checks = leak_checks(rows, limits)
    columns = rows.columns()
    groups: list[GroupRate] = []
    hidden, comparison, points = 0, {}, {}
    if live is not None:
        policy = candidate.policy.with_parts_of(live.policy)
        now_ms = epoch_ms(now)
        ours = decided(candidate, rows, policy, columns, now_ms)
        theirs = decided(live, rows, live.policy, columns, now_ms)
        draws = Draws(rows.card)
        checks = [
            average_precision_check(rows, ours, theirs, draws, limits), rules_check(ours, columns, len(rows)), *checks,
        ]  # fmt: skip
        # with fewer, each of the others would only say so once more
        if rows.frauds >= limits.min_frauds:
            found, groups, hidden = fairness_checks(rows, ours, theirs, draws, limits, protected)
            checks += [
                *money_checks(rows, ours, theirs, draws, limits),
                false_alarm_check(rows, ours, theirs, draws, limits),
                calibration_check(rows, ours, theirs, limits),
                record_check(rows, ours, theirs, live.auc_roc, limits),
                *found,
                latency_check(candidate, live, rows, limits, clock),
                size_check(candidate, live, limits),
                stability_check(rows, candidate, live, policy, live.policy, limits),
            ]
            points = {"candidate": curves(rows.fraud, ours.scores), "live": curves(rows.fraud, theirs.scores)}
        both = Comparison(live.policy, policy, now_ms)
        both.add(_past(rows, theirs, columns), ours.scores)
        comparison = both.report()
    verdict: Verdict = "fail" if any(check.stops for check in checks) else "pass"
    return Judgement(
        verdict=verdict, candidate=candidate.version, live=live.version if live else None, judged_at=now, rows=len(rows),
        frauds=rows.frauds, unseen_from_ms=since, to_ms=int(rows.event_ms[-1]) if len(rows) else None,
        whole_policy=columns is not None, checks=checks, groups=groups, hidden_groups=hidden, comparison=comparison, curves=points,
    )  # fmt: skip


def _past(rows: Dataset, side: Side, columns: TableColumns | None) -> PastRows:
    amount = np.nan_to_num(rows.amount_minor().astype(np.float64)).round().astype(np.int64)
    return PastRows(
        scores=side.scores, matrix=rows.matrix, columns=columns, amount_minor=amount, currency=rows.currency(), fraud=rows.fraud,
        honest=~rows.fraud, censored=np.zeros(len(rows), bool),
    )  # fmt: skip
