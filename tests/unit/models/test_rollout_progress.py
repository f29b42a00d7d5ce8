"""How a rollout moves: by proof, by a person, and not without data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from models.rollout.plan import Guard, Plan, Step
from models.rollout.progress import (
    Measured,
    advance,
    asked,
    begin,
    loaded,
    not_loaded,
    share_of,
    state_of,
    told,
)
from models.rollout.run import Check, Result, Run
from models.rollout.transitions import TransitionRefused

T0 = datetime(2026, 1, 2, tzinfo=UTC)
PLAN = Plan(
    steps=(
        Step(kind="shadow", min_decisions=100, min_s=10, max_s=1_000),
        Step(kind="canary", share=0.05, min_decisions=50, min_s=10, max_s=1_000),
        Step(kind="wait_approval"),
        Step(kind="ab", share=0.5, min_s=30, max_s=1_000),
        Step(kind="blue_green"),
    ),
    guards=(Guard(metric="decline_rate", max=1.3), Guard(metric="precision", min=0.8)),
)


def run_of(plan: Plan = PLAN) -> Run:
    return loaded(begin("f" * 32, plan, "1.0.0", "1.1.0", "ada", T0), T0).run


def check(result: Result, name: str = "decline_rate") -> Check:
    return Check(name=name, result=result, n=40, estimate=1.7, low=1.4, high=2.0, limit="at most 1.3")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def measured(result: Result, decisions: int = 1_000, last_s: float = 20.0) -> Measured:
    return Measured(decisions, at(last_s), (check(result),))


def test_steps_follow_one_another_to_the_end() -> None:
    run, seen = run_of(), []
    for i in range(1, 8):
        seen.append((state_of(run), share_of(run)))
        now = at(i * 100)
        if run.pause == "approval":
            move = asked(run, "resume", "looks good", now)
        else:
            move_or_none = advance(run, run.step_since, measured("pass", last_s=i * 100), now)
            assert move_or_none is not None
            move = move_or_none
        if move.end:
            assert (move.end, i) == ("done", 5)
            break
        run = move.run
    assert seen == [("shadow", 0.0), ("canary", 0.05), ("paused", 0.05), ("ab", 0.5), ("canary", 1.0)]


@pytest.mark.parametrize("pause", ["", "person", "no_data"])
def test_a_broken_guard_rolls_back_with_its_figures_also_while_paused(pause: str) -> None:
    run = msgspec.structs.replace(run_of(), pause=pause)
    move = advance(run, T0, measured("fail"), at(1))
    assert move is not None and move.end == "rolled_back"
    assert move.why == "decline_rate is 1.7 (1.4 to 2) of 40 observations, limit at most 1.3: fail"
    assert move.run.checks[0].result == "fail"


def test_figures_in_words_where_the_champion_has_no_event() -> None:
    endless = Check(
        name="decline_rate", result="fail", n=39, estimate=None, low=4.5, high=None, limit="at most 2"
    )
    assert told(endless) == "decline_rate is above 4.5 of 39 observations, limit at most 2: fail"


@pytest.mark.parametrize(
    ("seconds", "given"),
    [
        (9, measured("pass")),
        (20, measured("pass", 99)),
        (20, measured("inconclusive")),
        (20, measured("too_few")),
    ],
)
def test_a_step_waits_for_time_decisions_and_proof(seconds: float, given: Measured) -> None:
    assert advance(run_of(), T0, given, at(seconds)) is None


def test_what_the_shadow_proved_is_watched_in_the_canary_but_not_waited_for() -> None:
    first = advance(run_of(), T0, measured("pass"), at(20))
    assert first is not None and first.run.proven == ("decline_rate",)
    again = advance(first.run, at(20), measured("inconclusive", last_s=40), at(40))
    assert again is not None and again.run.step == 3
    broken = advance(first.run, at(20), measured("fail", last_s=40), at(25))
    assert broken is not None and broken.end == "rolled_back"


def test_labels_that_come_late_hold_nothing_up() -> None:
    given = Measured(1_000, at(20), (check("pass"), check("too_few", "precision")))
    run = run_of(msgspec.structs.replace(PLAN, steps=PLAN.steps[1:]))
    move = advance(run, T0, given, at(20))
    assert move is not None and move.run.step == 2


@pytest.mark.parametrize(("on_no_data", "end"), [("pause", None), ("rollback", "rolled_back")])
def test_no_data_never_passes(on_no_data: str, end: str | None) -> None:
    plan = msgspec.structs.replace(PLAN, on_no_data=on_no_data, no_data_s=60)
    assert advance(run_of(plan), T0, Measured(), at(60)) is None
    move = advance(run_of(plan), T0, Measured(5_000, at(5), (check("pass"),)), at(66))
    assert (
        move is not None
        and move.end == end
        and "no decision of 1.1.0 for 61 s in step 1 (shadow)" in move.why
    )
    if end is None:
        assert (move.run.pause, state_of(move.run)) == ("no_data", "paused")
        # resumed, it has as long again
        resumed = asked(move.run, "resume", "", at(500)).run
        assert advance(resumed, at(500), Measured(5, at(5)), at(550)) is None


def test_a_plan_that_asks_for_nothing_still_waits_for_a_decision() -> None:
    run = run_of(Plan(steps=(Step(kind="canary", share=0.5),)))
    assert advance(run, T0, Measured(), at(30)) is None
    move = advance(run, T0, Measured(1, at(30)), at(30))
    assert move is not None and move.end == "done"


def test_what_is_never_proven_pauses_for_a_person() -> None:
    move = advance(run_of(), T0, measured("inconclusive", last_s=1_001), at(1_001))
    assert move is not None and move.run.pause == "inconclusive" and "decline_rate is 1.7" in move.why
    assert advance(move.run, at(1_001), measured("pass", last_s=1_002), at(1_002)) is None


def test_a_person_may_always() -> None:
    run = run_of()
    paused = asked(run, "pause", "lunch", at(5)).run
    assert state_of(paused) == "paused"
    with pytest.raises(TransitionRefused, match="paused already"):
        asked(paused, "pause", "", at(6))
    with pytest.raises(TransitionRefused, match="not paused"):
        asked(run, "resume", "", at(6))
    assert asked(paused, "step", "", at(6)).run.step == 2
    assert asked(paused, "resume", "", at(6)).run.pause == ""
    assert asked(run, "abort", "", at(6)).end == "rolled_back"
    last = msgspec.structs.replace(run, step=5)
    assert asked(last, "abort", "", at(6)).end == "rolled_back"
    assert asked(last, "step", "", at(6)).end == "done"


def test_nothing_has_a_share_before_every_replica_has_the_bundle() -> None:
    plan = msgspec.structs.replace(PLAN, steps=PLAN.steps[1:])
    run = begin("f" * 32, plan, "1.0.0", "1.1.0", "ada", T0)
    assert (share_of(run), state_of(run)) == (0.0, "canary")
    with pytest.raises(TransitionRefused, match="not every replica has"):
        asked(run, "step", "", at(1))
    began = loaded(run, at(9)).run
    assert (share_of(began), began.step_since) == (0.05, at(9))
    assert not_loaded(run, "scoring-stream-0 refused it").end == "rolled_back"
