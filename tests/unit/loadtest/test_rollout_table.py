"""The rollout table in small: identical models are not rolled back, harmful ones are, before they decided 2 % of the day's payments."""

from __future__ import annotations

from datetime import timedelta

import pytest

from loadtest.bench.rollout.day import HARMFUL, Day, Kind, make_day, roll_out
from loadtest.bench.rollout.table import SEEN_MAX, Line, shown
from models.rollout.plan import DEFAULT_PLAN, Plan, Step

#: the default plan for a day of a tenth of the payments
PLAN = Plan(
    steps=(
        Step(kind="shadow", min_decisions=5_000, min_s=60),
        Step(kind="canary", share=0.1, min_decisions=1_000, min_s=60),
        Step(kind="canary", share=1.0, min_decisions=2_000, min_s=60),
    ),
    guards=DEFAULT_PLAN.guards,
)


@pytest.fixture(scope="module")
def day() -> Day:
    return make_day(100_000, 20_000, seed=3)


@pytest.mark.parametrize("days", [0, 7])
@pytest.mark.parametrize("kind", HARMFUL)
def test_harmful_models_are_undone_in_time(day: Day, kind: Kind, days: int) -> None:
    ended = roll_out(day, kind, PLAN, 11, timedelta(days=days))
    # a slow model shows only in its own decisions, which a small day has few of
    assert ended.state == "rolled_back" and (ended.seen < SEEN_MAX or (kind == "slow" and ended.step == 2)), (
        ended
    )


def test_identical_models_are_not_rolled_back(day: Day) -> None:
    ended = [roll_out(day, "identical", PLAN, seed, timedelta(0)) for seed in range(4)]
    assert {one.state for one in ended} == {"done"}
    assert "| identical | small | 0 d | 4 | 4 | 0 | 0 |" in shown(
        [Line("identical", "small", 0, ended)], 100_000
    )
