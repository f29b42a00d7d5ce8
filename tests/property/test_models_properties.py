"""What must hold for any model: calibration keeps the order, a higher score is never treated more kindly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import INDEX, WIDTH
from models.policy.policy import Policy, Rule
from models.scoring.calibration import Calibration, CalibrationError, fit_platt

QUICK = settings(max_examples=80, deadline=None)
margins = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=50)


@QUICK
@given(margins, st.floats(0.01, 20), st.floats(-10, 10))
def test_calibration_is_monotone_and_a_probability(
    values: list[float], slope: float, intercept: float
) -> None:
    ordered = np.sort(np.array(values, np.float32))
    scores = Calibration(slope, intercept).apply(ordered)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all() and (np.diff(scores) >= 0).all()


@QUICK
@given(st.integers(0, 10_000), st.floats(0.2, 4), st.floats(-4, 2))
def test_platt_finds_the_sigmoid_that_made_the_labels(seed: int, slope: float, intercept: float) -> None:
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, 2, 40_000)
    chance = 1 / (1 + np.exp(-(slope * margin + intercept)))
    fitted = fit_platt(margin, rng.random(40_000) < chance)
    assert np.abs(fitted.apply(margin) - chance).mean() < 0.02


def test_what_cannot_be_calibrated_says_so() -> None:
    margin = np.linspace(-3, 3, 200)
    with pytest.raises(CalibrationError, match="both classes"):
        fit_platt(margin, np.zeros(200, bool))
    with pytest.raises(CalibrationError, match="learnt nothing"):
        fit_platt(margin, margin < 0)
    for slope in (0.0, -1.0, float("nan")):
        with pytest.raises(CalibrationError):
            Calibration(slope, 0.0)


@QUICK
@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1),
    st.floats(0, 1), st.floats(0, 1e6),
)  # fmt: skip
def test_a_higher_score_is_never_treated_more_kindly(
    scores: list[float], a: float, b: float, min_score: float, amount: float
) -> None:
    policy = Policy(
        version="1", review=min(a, b), decline=max(a, b),
        rules=(Rule("large", f"amount > 1000 AND score >= {min_score!r}", "review", "fraud-ops"),),
    )  # fmt: skip
    ordered = np.sort(np.array(scores, np.float32))
    matrix = np.full((len(ordered), WIDTH), np.nan, np.float32)
    matrix[:, INDEX["amount"]] = amount
    codes, rules = policy.decide(ordered, matrix)
    assert (np.diff(codes) >= 0).all()
    assert all(code >= 1 for code, names in zip(codes, rules, strict=True) if names)
    without_rules, _ = policy.decide(ordered)
    assert (codes >= without_rules).all()
