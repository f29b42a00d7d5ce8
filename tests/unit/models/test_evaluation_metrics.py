"""Figures against naive oracles and scikit-learn, on random data with ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from features.catalogue import INDEX, WIDTH
from models.policy.policy import Policy
from models.training.dataset import DAY_MS, Dataset
from models.training.evaluation import (
    auc_roc,
    average_precision,
    calibration_error,
    card_precision,
    compare,
    evaluate,
    without_known_frauds,
)

POLICY = Policy(version="1", review=0.5, decline=0.9)


def table(day: list[int], card: list[str], fraud: list[int]) -> Dataset:
    matrix = np.full((len(day), WIDTH), np.nan, np.float32)
    matrix[:, INDEX["amount"]] = 100.0
    return Dataset(matrix, np.array(fraud, bool), np.array(day, np.int64) * DAY_MS, np.array(card, object))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60))
def test_ranking_agrees_with_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    fraud = np.array([row[0] for row in rows])
    scores = np.array([row[1] for row in rows], np.float32) / 6
    if fraud.all() or not fraud.any():
        assert auc_roc(fraud, scores) is None
        return
    assert auc_roc(fraud, scores) == pytest.approx(roc_auc_score(fraud, scores))
    assert average_precision(fraud, scores) == pytest.approx(average_precision_score(fraud, scores))


def naive_card_precision(data: Dataset, scores: np.ndarray, k: int) -> float:
    detected: set[str] = set()
    shares = []
    days = data.event_ms // DAY_MS
    for day in range(days.min(), days.max() + 1):
        best: dict[str, tuple[float, bool]] = {}
        for row in np.flatnonzero(days == day):
            card = data.card[row]
            if card not in detected:
                score, fraud = best.get(card, (-1.0, False))
                best[card] = (max(score, float(scores[row])), fraud or bool(data.fraud[row]))
        top = sorted(best, key=lambda card: -best[card][0])[:k]
        found = [card for card in top if best[card][1]]
        detected.update(found)
        shares.append(len(found) / k)
    return float(np.mean(shares))


def test_card_precision_agrees_with_the_obvious_way() -> None:
    rng = np.random.default_rng(11)
    data = table(
        np.sort(rng.integers(20_000, 20_006, 800)).tolist(), [f"c{n}" for n in rng.integers(0, 90, 800)],
        (rng.random(800) < 0.1).astype(int).tolist(),
    )  # fmt: skip
    scores = rng.permutation(800).astype(np.float32) / 800
    for k in (1, 5, 20, 100):
        assert card_precision(data, scores, k) == pytest.approx(naive_card_precision(data, scores, k))


def test_a_detected_card_does_not_count_again() -> None:
    data = table([1, 2, 2], ["a", "a", "b"], [1, 1, 0])
    assert card_precision(data, np.array([0.9, 0.9, 0.1], np.float32), 1) == pytest.approx(0.5)


def test_where_nothing_can_be_found_there_is_no_precision() -> None:
    assert card_precision(table([1, 2], ["a", "b"], [0, 0]), np.array([0.9, 0.1], np.float32)) is None
    assert card_precision(table([], [], []), np.array([], np.float32)) is None


def test_calibration_error_is_the_gap() -> None:
    fraud = np.arange(1000) % 4 == 0
    assert calibration_error(fraud, np.full(1000, 0.25, np.float32)) == pytest.approx(0.0, abs=0.02)
    assert calibration_error(fraud, np.full(1000, 0.75, np.float32)) == pytest.approx(0.5, abs=0.02)


def test_cards_known_to_be_compromised_leave_the_test() -> None:
    # training is days 0-6; delay 7: on day 14 frauds up to day 6 are known, on day 16 up to day 8
    data = table([3, 8, 14, 14, 16, 16, 16], list("abababc"), [1, 1, 0, 0, 0, 0, 1])
    test = data.between(14 * DAY_MS, 17 * DAY_MS)
    kept = without_known_frauds(test, data, 7, 0, 7 * DAY_MS)
    assert [(int(ms // DAY_MS), card) for ms, card in zip(kept.event_ms, kept.card, strict=True)] == [
        (14, "b"),
        (16, "c"),
    ]


def test_figures_at_the_policys_thresholds() -> None:
    data = table([1] * 5, list("abcde"), [1, 1, 0, 0, 1])
    found = evaluate(data, np.array([0.95, 0.6, 0.7, 0.1, 0.2], np.float32), POLICY)
    assert found["review"] == {"flagged": 3, "precision": 2 / 3, "recall": 2 / 3, "false_alarms": 1}
    assert found["decline"] == {"flagged": 1, "precision": 1.0, "recall": 1 / 3, "false_alarms": 0}
    assert (found["fraud_caught_minor"], found["fraud_missed_minor"]) == ({"unknown": 200}, {"unknown": 100})


def test_a_comparison_is_on_the_same_rows() -> None:
    data = table([1] * 4, list("abcd"), [1, 1, 0, 0])
    good = np.array([0.9, 0.8, 0.2, 0.1], np.float32)
    both = compare((lambda _: good, POLICY), (lambda _: 1 - good, POLICY), data)
    assert both["candidate"]["auc_roc"] == 1.0 and both["live"]["auc_roc"] == 0.0
    assert both["difference"]["auc_roc"] == 1.0


def test_without_frauds_there_is_no_figure_rather_than_a_wrong_one() -> None:
    found = evaluate(table([1], ["a"], [0]), np.array([0.1], np.float32), POLICY)
    assert (
        found["auc_roc"] is None
        and found["review"]["precision"] is None
        and found["review"]["recall"] is None
    )
