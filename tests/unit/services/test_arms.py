"""Two models in a replica: each card keeps its arm, a challenger that fails leaves its cards to the champion, the shadow delays nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from features.vector_layouts import OWN
from models.decision import DECISIONS, Decision
from models.rollout.arms import arm_of
from models.scoring.scorer import Scorer
from services.scoring.arms import arms_decider
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.arms.challenger_cost import ChallengerCost
from services.scoring.arms.gathering import AFTER_S, ROWS, Compared, Gathering
from services.scoring.arms.shadow import FAILED_CODE, Shadow
from services.scoring.decision.deadline import AT_ONCE_MS
from services.scoring.decision.decider import Decider
from services.scoring.model.serving import Challenger, Serving
from streams.log.other_catalogues import OtherCatalogue
from streams.runtime.metrics import CHALLENGER_ROWS, MODEL_FAILURES
from tests.support.archive_samples import START_MS
from tests.support.metric_values import counted, total
from tests.support.two_arms import (
    CARDS,
    CASES,
    MATRIX,
    NEW,
    OLD,
    SALT,
    Kept,
    Obstinate,
    at,
    challenger,
    champion,
)
from tests.support.waiting import STALL_S


@pytest.fixture(scope="module")
def old() -> Scorer:
    return champion()


@pytest.fixture(scope="module")
def made() -> Obstinate:
    return challenger()


@pytest.fixture
def new(made: Obstinate) -> Iterator[Obstinate]:
    made.fails, made.score_ms = False, None
    made.go_on.set()
    yield made
    made.go_on.set()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy test machine is no failing challenger."""
    monkeypatch.setattr(arms_decider, "CHALLENGER_WITHIN_S", STALL_S)
    monkeypatch.setattr(arms_decider, "shadow_share_ms", lambda left: 1000 * STALL_S)


#: (ms a call, ms a row) of a challenger that works on the other thread
SLOW = (0.0, 2 * AT_ONCE_MS)


def decide(
    serving: Serving, decider: ArmsDecider | None = None, other: OtherCatalogue | None = None
) -> list[Decision]:
    decider = decider or ArmsDecider(Decider(clock=lambda: START_MS / 1000))
    return decider.decide(CASES, MATRIX, serving, other)


def plain(scorer: Scorer, arm: str = "champion") -> list[Decision]:
    """What one model alone decides."""
    return Decider(arm, clock=lambda: START_MS / 1000).decide(CASES, MATRIX, scorer)


def rows_counted(role: str, result: str) -> float:
    return total(CHALLENGER_ROWS, role=role, result=result)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_each_card_is_decided_whole_by_its_arm(old: Scorer, new: Obstinate, share: float) -> None:
    alone = {"champion": plain(old), "challenger": plain(new, "challenger")}
    found = decide(Serving(old, at(share, new)))
    arms = [arm_of(SALT, card, share) for card in CARDS]
    assert found == [alone[arm][row] for row, arm in enumerate(arms)]
    assert {d.arm: d.model_version for d in found}.items() <= {"champion": OLD, "challenger": NEW}.items()


def test_a_growing_share_takes_no_card_back(old: Scorer, new: Obstinate) -> None:
    mine: set[str] = set()
    for share in (0.01, 0.05, 0.25, 1.0):
        taken = {d.card_id for d in decide(Serving(old, at(share, new))) if d.arm == "challenger"}
        assert mine <= taken
        mine = taken
    assert mine == set(CARDS)


def test_a_failing_challenger_leaves_its_cards_to_the_champion(old: Scorer, new: Obstinate) -> None:
    new.fails = True
    before, page = rows_counted("arm", "failed"), counted(MODEL_FAILURES)
    assert decide(Serving(old, at(0.5, new))) == plain(old)
    mine = sum(arm_of(SALT, card, 0.5) == "challenger" for card in CARDS)
    assert rows_counted("arm", "failed") == before + mine > before
    # its metric pages for the champion
    assert counted(MODEL_FAILURES) == page


def test_a_hanging_challenger_is_waited_for_once(
    old: Scorer, new: Obstinate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms_decider, "CHALLENGER_WITHIN_S", 0.01)
    new.score_ms = SLOW
    new.go_on.clear()
    decider = ArmsDecider(Decider(clock=lambda: START_MS / 1000))
    before = rows_counted("arm", "late")
    assert decide(Serving(old, at(1.0, new)), decider) == plain(old)
    # a second wait would fail the test by its time
    monkeypatch.setattr(arms_decider, "CHALLENGER_WITHIN_S", STALL_S)
    assert decide(Serving(old, at(1.0, new)), decider) == plain(old)
    assert rows_counted("arm", "late") == before + 2 * len(CASES)
    new.go_on.set()
    hanging = decider.calls._hanging
    assert hanging is not None
    hanging.result(STALL_S)
    assert decide(Serving(old, at(1.0, new)), decider) == plain(new, "challenger")


def test_rows_without_what_the_challenger_reads_are_the_champions(old: Scorer, new: Obstinate) -> None:
    known = np.ones(len(OWN.names), bool)
    known[new.columns[0]] = False
    before = rows_counted("arm", "unfit")
    found = decide(Serving(old, at(1.0, new)), other={3: known, 7: known})
    assert [row for row, d in enumerate(found) if d.arm == "champion"] == [3, 7]
    # the champion reads it too
    assert [found[row].status for row in (2, 3, 7)] == ["scored", "not_scored", "not_scored"]
    assert rows_counted("arm", "unfit") == before + 2


def test_the_shadow_changes_no_decision_and_says_what_it_scored(old: Scorer, new: Obstinate) -> None:
    kept = Kept()
    shadow = Shadow(kept)
    decider = ArmsDecider(Decider(clock=lambda: START_MS / 1000), shadow)
    found = decide(Serving(old, at(0.0, new, shadow=True)), decider)
    expected = plain(new)
    assert [d.shadow for d in found] == [{NEW: d.score} for d in expected]
    assert [msgspec.structs.replace(d, shadow={}) for d in found] == plain(old)
    shadow.close(STALL_S)
    [batch] = kept.batches
    assert (batch.run, batch.champion, batch.challenger, batch.dropped) == ("run-1", OLD, NEW, 0)
    said = [(d.card_id, DECISIONS.index(d.decision), DECISIONS.index(e.decision)) for d, e in zip(found, expected, strict=True)]  # fmt: skip
    assert kept.rows == said
    assert np.frombuffer(batch.challenger_scores, "<f4").round(6).tolist() == pytest.approx(
        [e.score for e in expected]
    )
    assert np.frombuffer(batch.champion_scores, "<f4").round(6).tolist() == pytest.approx(
        [d.score for d in found]
    )
    assert np.frombuffer(batch.amounts_minor, "<i8").tolist() == [c.transaction.amount_minor for c in CASES]


def test_a_canary_with_a_shadow_scores_the_champions_cards_only(old: Scorer, new: Obstinate) -> None:
    kept = Kept()
    shadow = Shadow(kept)
    found = decide(Serving(old, at(0.5, new, shadow=True)), ArmsDecider(Decider(), shadow))
    shadow.close(STALL_S)
    assert all(bool(d.shadow) == (d.arm == "champion") for d in found)
    assert [card for card, *_ in kept.rows] == [d.card_id for d in found if d.arm == "champion"]


def test_a_shadow_that_fails_is_counted_and_published_as_failed(old: Scorer, new: Obstinate) -> None:
    kept = Kept()
    shadow = Shadow(kept)
    new.fails = True
    before = rows_counted("shadow", "failed")
    assert decide(Serving(old, at(0.0, new, shadow=True)), ArmsDecider(Decider(clock=lambda: START_MS / 1000), shadow)) == plain(old)  # fmt: skip
    shadow.close(STALL_S)
    assert {code for *_, code in kept.rows} == {FAILED_CODE} and len(kept.rows) == len(CASES)
    assert rows_counted("shadow", "failed") == before + len(CASES)


def test_a_slow_shadow_holds_nothing_up_and_drops_what_it_cannot_take(old: Scorer, new: Obstinate) -> None:
    kept = Kept()
    shadow = Shadow(kept, max_rows=2 * len(CASES))
    decider = ArmsDecider(Decider(clock=lambda: START_MS / 1000), shadow)
    serving = Serving(old, at(0.0, new, shadow=True))
    new.score_ms = SLOW
    new.go_on.clear()
    before = rows_counted("shadow", "dropped")
    # nobody waits for it, and the third batch finds no room
    for _ in range(3):
        assert decide(serving, decider) == plain(old)
    assert rows_counted("shadow", "dropped") == before + len(CASES)
    new.go_on.set()
    shadow.close(STALL_S)
    # what was late for its decision is published all the same
    expected = [DECISIONS.index(d.decision) for d in plain(new)]
    assert [code for *_, code in kept.rows] == 2 * expected
    assert sum(batch.dropped for batch in kept.batches) == len(CASES)


def test_without_time_the_shadow_is_scored_aside(
    old: Scorer, new: Obstinate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms_decider, "shadow_share_ms", lambda left: 0.0)
    kept = Kept()
    shadow = Shadow(kept)
    decider = ArmsDecider(Decider(clock=lambda: START_MS / 1000), shadow)
    assert decide(Serving(old, at(0.0, new, shadow=True)), decider) == plain(old)
    shadow.close(STALL_S)
    assert len(kept.rows) == len(CASES)


def test_a_challenger_that_becomes_slow_goes_to_the_other_thread_and_comes_back() -> None:
    cost = ChallengerCost()
    assert cost.quick
    cost.learn(10, 0.5)
    assert cost.quick
    cost.learn(1, 50.0)
    assert not cost.quick
    for _ in range(10):
        cost.learn(1, 0.1)
    assert cost.quick
    for _ in range(20):
        cost.learn(10, 50.0)
    assert not cost.quick or cost.of(10) > 5.0


def test_records_of_the_shadow_are_gathered_by_rows_time_and_rollout(old: Scorer, new: Obstinate) -> None:
    now_s, kept = 100.0, Kept()
    gathering = Gathering(kept, lambda: now_s)
    judged = Decider(clock=lambda: START_MS / 1000).judge(CASES, MATRIX, old)
    compared = Compared(judged, judged.codes, judged.scores)
    for _ in range(ROWS // len(CASES)):
        gathering.add(at(0.0, new), compared, 1)
    gathering.serve()
    assert kept.batches == []
    gathering.add(at(0.0, new), compared, 0)
    assert (len(kept.batches[0].cards), kept.batches[0].dropped) == ((ROWS // len(CASES) + 1) * len(CASES), 2)
    gathering.add(at(0.0, new), compared, 0)
    now_s += AFTER_S
    gathering.serve()
    assert (len(kept.batches), kept.batches[1].dropped) == (2, 0)
    # another rollout's rows are no part of this one's records
    gathering.add(at(0.0, new), compared, 0)
    other: Any = Challenger(new, 0.0, SALT, True, "run-2")
    gathering.add(other, compared, 0)
    gathering.send()
    assert [batch.run for batch in kept.batches[2:]] == ["run-1", "run-2"]
