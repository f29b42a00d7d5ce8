"""What must hold for any model: calibration keeps the order, a higher score is never treated more kindly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from features.catalogue import INDEX, WIDTH
from models.policy.policy import Policy, Rule
from models.scoring.calibration import Calibration, CalibrationError, fit_beta, fit_calibration, fit_platt

QUICK = settings(max_examples=80, deadline=None)
margins = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=50)


@QUICK
@given(margins, st.floats(0.01, 20), st.floats(-10, 10), st.none() | st.floats(0.01, 20))
def test_calibration_is_monotone_and_a_probability(
    values: list[float], slope: float, intercept: float, upper: float | None
) -> None:
    ordered = np.sort(np.array(values, np.float32))
    scores = Calibration(slope, intercept, upper).apply(ordered)
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


@QUICK
@given(st.integers(0, 10_000), st.floats(0.4, 3), st.floats(0.4, 3), st.floats(-3, 1))
def test_beta_is_logistic_regression_on_the_logarithms(
    seed: int, slope: float, upper: float, intercept: float
) -> None:
    """Oracle: scikit-learn's, on ln p and -ln(1 - p), without penalty."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(-1, 2, 8_000)
    p = 1 / (1 + np.exp(-margin))
    x = np.column_stack([np.log(p), -np.log(1 - p)])
    chance = 1 / (1 + np.exp(-(x @ [slope, upper] + intercept)))
    fraud = rng.random(len(margin)) < chance
    oracle = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1_000).fit(x, fraud)
    if (oracle.coef_ < 0.05).any():
        return
    fitted = fit_beta(margin, fraud)
    # the targets are smoothed a little
    assert np.abs(fitted.apply(margin) - oracle.predict_proba(x)[:, 1]).max() < 0.01
    assert np.abs(fitted.apply(margin) - chance).mean() < 0.03


def test_the_kind_of_less_log_loss_is_taken() -> None:
    """Oracle: each half's rows scored by what the other half gave."""
    rng = np.random.default_rng(4)
    margin = rng.normal(-1, 2, 20_000)
    bent = Calibration(0.4, -0.5, 2.5)
    chosen = set()
    for truth in (bent, Calibration(1.3, -0.5)):
        for _ in range(4):
            fraud = rng.random(len(margin)) < truth.apply(margin)
            found = fit_calibration(margin, fraud)
            second = np.zeros(len(fraud), bool)
            second[np.flatnonzero(fraud)[1::2]] = second[np.flatnonzero(~fraud)[1::2]] = True
            for kind, fit in (("platt", fit_platt), ("beta", fit_beta)):
                p = np.where(
                    second,
                    fit(margin[~second], fraud[~second]).apply(margin),
                    fit(margin[second], fraud[second]).apply(margin),
                ).astype(float)
                loss = -np.log(np.where(fraud, p, 1 - p)).mean()
                assert found.log_loss[kind] == pytest.approx(loss, rel=1e-6)
            assert found.calibration.kind == min(found.log_loss, key=found.log_loss.__getitem__)
            chosen.add((truth.kind, found.calibration.kind))
    assert ("beta", "beta") in chosen and ("beta", "platt") not in chosen and ("platt", "platt") in chosen


def test_what_cannot_be_calibrated_says_so() -> None:
    margin = np.linspace(-3, 3, 200)
    with pytest.raises(CalibrationError, match="both classes"):
        fit_platt(margin, np.zeros(200, bool))
    with pytest.raises(CalibrationError, match="learnt nothing"):
        fit_platt(margin, margin < 0)
    for slope in (0.0, -1.0, float("nan")):
        with pytest.raises(CalibrationError):
            Calibration(slope, 0.0)
        with pytest.raises(CalibrationError):
            Calibration(1.0, 0.0, slope)
    # a curve that is not monotone is no calibration
    with pytest.raises(CalibrationError):
        fit_beta(margin, margin < 0)
    with pytest.raises(CalibrationError, match="learnt nothing"):
        fit_calibration(margin, margin < 0)


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
