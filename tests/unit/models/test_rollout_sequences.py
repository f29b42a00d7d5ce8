"""Confidence sequences: looked at after every observation, they miss the truth rarely; and they find what is not there no more."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.rollout.sequences import (
    Sums,
    log_evidence_of_sum,
    rate,
    ratio_of_arms,
    ratio_of_pairs,
    ratio_of_rates,
    ratio_of_sums,
    share_of_sum,
    stability,
)

ALPHA = 0.05
RUNS = 60


def looks(n: int) -> list[int]:
    return sorted({int(x) for x in np.geomspace(5, n, 60)})


@pytest.mark.parametrize("p", [0.003, 0.1, 0.5])
def test_rate_holds_at_every_look(p: float) -> None:
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(RUNS):
        found = np.cumsum(rng.random(5_000) < p)
        missed += any(not (i := rate(int(found[n - 1]), n, ALPHA)).low <= p <= i.high for n in looks(5_000))
    assert missed <= ALPHA * RUNS + 3


def test_rate_of_few_and_many() -> None:
    assert rate(0, 0, ALPHA)[1:] == (0.0, 1.0)
    assert rate(0, 2_000, 3e-4).high < 0.01
    tight = rate(5_000, 10_000, ALPHA)
    assert tight.estimate == 0.5 and tight.high - tight.low < 0.05
    assert rate(10, 10, ALPHA).high == 1.0


@pytest.mark.parametrize(("share", "ratio"), [(0.01, 1.0), (0.05, 2.0), (0.5, 0.5)])
def test_ratio_of_arms_holds_though_the_rate_changes_over_the_day(share: float, ratio: float) -> None:
    rng = np.random.default_rng(2)
    chance = ratio * share / (ratio * share + 1 - share)
    missed = 0
    for _ in range(RUNS):
        mine = np.cumsum(rng.random(4_000) < chance)
        intervals = [
            ratio_of_arms(int(mine[n - 1]), n - int(mine[n - 1]), share, ALPHA) for n in looks(4_000)
        ]
        missed += any(not i.low <= ratio <= i.high for i in intervals)
    assert missed <= ALPHA * RUNS + 3


def test_ratio_of_pairs_holds_and_is_sharp_where_models_agree() -> None:
    rng = np.random.default_rng(3)
    # both 0.7, champion only 0.2, challenger only 0.1: (0.7 + 0.1) / (0.7 + 0.2)
    truth, missed = 0.8 / 0.9, 0
    for _ in range(RUNS):
        kinds = rng.choice(3, 1_500, p=[0.7, 0.2, 0.1])
        for n in looks(1_500):
            counts = np.bincount(kinds[:n], minlength=3).tolist()
            found = ratio_of_pairs(*counts, ALPHA)
            if not found.low <= truth <= found.high:
                missed += 1
                break
    assert missed <= ALPHA * RUNS + 3
    same = ratio_of_pairs(150, 0, 0, 3e-4)
    assert same.estimate == 1.0 and same.high < 1.3 and same.low > 0.7
    assert ratio_of_pairs(0, 0, 0, ALPHA)[1:] == (0.0, math.inf)
    assert ratio_of_pairs(100, 0, 100, 3e-4).low > 1.3


def test_ratio_of_rates() -> None:
    assert ratio_of_rates((0, 0), (5, 9), ALPHA)[1:] == (0.0, math.inf)
    found = ratio_of_rates((450, 500), (225, 500), ALPHA)
    assert found.estimate == 2.0 and 1.5 < found.low < 2.0 < found.high < 2.6


def test_stability_of_alike_and_unlike() -> None:
    rng = np.random.default_rng(5)
    p = np.array([0.9, 0.03, 0.02, 0.02, 0.01, 0.01, 0.005, 0.003, 0.002])
    over = sum(
        stability(rng.multinomial(2_000, p), rng.multinomial(2_000, p), 3e-4).low > 0.02 for _ in range(300)
    )
    assert over == 0
    alike = stability(rng.multinomial(20_000, p), rng.multinomial(20_000, p), 3e-4)
    assert alike.high < 0.1
    assert stability(rng.multinomial(20_000, p), rng.multinomial(20_000, np.roll(p, 1)), 3e-4).low > 0.25
    assert stability([0] * 9, [1] * 9, ALPHA).high == math.inf


def sums(rng: np.random.Generator, n: int, share: float) -> Sums:
    """Amounts over three powers of ten, of which the dearer are stopped more often; the share of the sum that is stopped is ``share``."""
    weights = np.minimum(rng.lognormal(-4.0, 1.5, n), 1.0)
    dear = weights > np.median(weights)
    return Sums(weights, rng.random(n) < np.where(dear, share, share * 0.5))


@pytest.mark.parametrize("share", [0.1, 0.6, 0.97])
def test_share_of_a_sum_holds_at_every_look(share: float) -> None:
    rng = np.random.default_rng(6)
    weights, stopped = sums(rng, 400_000, share)
    truth = float(weights[stopped].sum() / weights.sum())
    missed = 0
    for _ in range(RUNS):
        weights, stopped = sums(rng, 1_000, share)
        evidence = [log_evidence_of_sum(Sums(weights[:n], stopped[:n]), truth) for n in looks(1_000)]
        missed += max(evidence) >= math.log(1 / ALPHA)
    assert missed <= ALPHA * RUNS + 3


def test_share_of_few_and_many() -> None:
    nothing = Sums(np.zeros(0), np.zeros(0, bool))
    assert share_of_sum(nothing, ALPHA)[1:] == (0.0, 1.0)
    assert math.isnan(ratio_of_sums(nothing, nothing, ALPHA).estimate)
    assert share_of_sum(Sums(np.full(3, 0.01), np.ones(3, bool)), ALPHA) == (
        1.0,
        pytest.approx(0.0, abs=0.2),
        1.0,
    )
    rng = np.random.default_rng(7)
    tight = share_of_sum(sums(rng, 5_000, 0.6), ALPHA)
    assert tight.high - tight.low < 0.2
    halved = ratio_of_sums(sums(rng, 3_000, 0.4), sums(rng, 3_000, 0.8), 1e-4)
    assert halved.high < 0.8 and halved.low < 0.5 < halved.high
