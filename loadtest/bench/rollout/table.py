"""What is asked of rollouts, and a table of what they did over a simulated day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

from loadtest.bench.rollout.day import HARMFUL, Day, Ended, Kind, make_day, roll_out
from models.rollout.plan import DEFAULT_PLAN, Plan, Step

CARDS = 200_000
#: a harmful model must be undone before it decided this share of the day's payments
SEEN_MAX = 0.02
#: for many rollouts: it ends within a short day
SHORT = Plan(
    steps=(
        Step(kind="shadow", min_decisions=20_000, min_s=60),
        Step(kind="canary", share=0.05, min_decisions=2_000, min_s=60),
        Step(kind="canary", share=0.25, min_decisions=5_000, min_s=60),
        Step(kind="canary", share=1.0, min_decisions=5_000, min_s=60),
    ),
    guards=DEFAULT_PLAN.guards,
)
#: a short day's payments, of those of a day
SHORT_DAY = 0.2
WITHOUT_SHADOW = Plan(
    steps=(Step(kind="canary", share=0.01, min_decisions=5_000, min_s=60), *DEFAULT_PLAN.steps[2:]),
    guards=DEFAULT_PLAN.guards,
)


@dataclass(frozen=True)
class Line:
    """Rollouts of one kind of model under one plan."""

    kind: Kind
    plan: str
    label_days: float
    ended: Sequence[Ended]

    @property
    def rolled_back(self) -> int:
        """How many ended so."""
        return sum(one.state == "rolled_back" for one in self.ended)

    @property
    def seen(self) -> float:
        """The largest share of the day that a rollout's challenger decided."""
        return max(one.seen for one in self.ended)

    @property
    def holds(self) -> bool:
        """At most one false rollback in a hundred; every harmful model undone in time."""
        if self.kind in HARMFUL:
            return self.rolled_back == len(self.ended) and self.seen < SEEN_MAX
        return self.rolled_back <= max(1, len(self.ended) // 100)


def run(rollouts: int, payments: int, seed: int, workers: int = 2) -> list[Line]:
    """All lines; the rollouts of a line share the day and differ in what the models say, and in which cards get which."""
    few, some = max(2, rollouts // 25), max(3, rollouts // 5)
    short = round(payments * SHORT_DAY)
    asked: list[tuple[Kind, str, Plan, int, float, int]] = [
        ("identical", "short", SHORT, short, 7.0, rollouts),
        ("identical", "default", DEFAULT_PLAN, payments, 7.0, few),
        ("identical", "no shadow", WITHOUT_SHADOW, payments, 0.0, few),
        ("alike", "short", SHORT, short, 7.0, some),
        *((kind, "default", DEFAULT_PLAN, payments, days, few) for kind in HARMFUL for days in (0.0, 7.0)),
        *((kind, "no shadow", WITHOUT_SHADOW, payments, 7.0, few) for kind in ("declines doubled", "fails")),
    ]  # fmt: skip
    with ProcessPoolExecutor(workers) as pool:
        jobs = [
            [pool.submit(_one, rows, seed, kind, plan, days, seed * 1_000_003 + i) for i in range(count)]
            for kind, _, plan, rows, days, count in asked
        ]
        return [
            Line(kind, name, days, [job.result() for job in each])
            for (kind, name, _, _, days, _), each in zip(asked, jobs, strict=True)
        ]


def shown(lines: Sequence[Line], payments: int) -> str:
    """The table in Markdown."""
    out = [
        f"A day of {payments:,} payments on {CARDS:,} cards, with the short plan of {round(payments * SHORT_DAY):,}; the challenger may have decided at most {SEEN_MAX:.0%} of them when a harmful one is undone.",
        "",
        "| model | plan | labels after | rollouts | done | rolled back | paused or day over | challenger's share of the day, at most | hours, median | first reason | holds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        states = Counter(one.state for one in line.ended)
        hours = sorted(one.hours for one in line.ended)[len(line.ended) // 2]
        other = len(line.ended) - states["done"] - states["rolled_back"]
        why = next((one.why.split(" of ")[0] for one in line.ended if one.state == "rolled_back"), "")
        out.append(
            f"| {line.kind} | {line.plan} | {line.label_days:g} d | {len(line.ended)} | {states['done']} | {states['rolled_back']} | {other} "
            f"| {line.seen:.2%} | {hours:.1f} | {why} | {'yes' if line.holds else 'NO'} |"
        )
    return "\n".join(out)


@lru_cache(maxsize=2)
def _day(payments: int, seed: int) -> Day:
    return make_day(payments, CARDS, seed)


def _one(payments: int, seed: int, kind: Kind, plan: Plan, label_days: float, draw: int) -> Ended:
    return roll_out(_day(payments, seed), kind, plan, draw, timedelta(days=label_days))
