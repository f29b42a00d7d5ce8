"""Exploration: its share, its cap a day whatever happens, and what the rows that it let through stand for."""

from __future__ import annotations

from random import Random

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from models.policy.exploration import DAY_MS, OFF, ExplorationTerms, Explorer, Terms
from models.policy.review_terms import ReviewTerms
from models.scoring.calibration import fit_platt
from models.training.dataset import Dataset
from models.training.evaluation import auc_roc, average_precision, evaluate
from models.training.label_states import LabelState, Stated, label_states, weights_of
from models.training.learners.parameters import Parameters
from models.training.training import choose_policy, fit, margins
from tests.support.bundle_samples import QUICK
from tests.support.models_data import make_dataset

MIDNIGHT = 20_000 * DAY_MS
TERMS = ExplorationTerms(share=0.2, cap_minor_per_day={"EUR": 100_000})


def let_through(
    explorer: Explorer, days: float, every_ms: int, amount: int, *, from_ms: int = MIDNIGHT
) -> list[int]:
    """The money that was let through by day, of payments at a steady rate."""
    out = [0] * (int(days) + 1)
    for at in range(from_ms, from_ms + int(days * DAY_MS), every_ms):
        drawn = explorer.of("default", "EUR", amount, at)
        assert drawn is not None
        if drawn.into is not None:
            out[(at - from_ms) // DAY_MS] += amount
    return out


def test_off_by_default_and_for_tenants_that_say_so() -> None:
    assert not OFF.on and Explorer(OFF, 0.0).of("default", "EUR", 1, 1.0) is None
    terms = msgspec.convert(
        {"share": 0.1, "cap_minor_per_day": {"EUR": 5}, "tenants": {"shop": {"share": 0.0}}}, ExplorationTerms
    )
    explorer = Explorer(terms, 0.0)
    assert terms.on and explorer.of("shop", "EUR", 1, 1.0) is None
    assert explorer.of("default", "EUR", 1, 1.0) is not None


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"share": 0.1}, "cap_minor_per_day"),
        ({"share": 0.6, "cap_minor_per_day": {"EUR": 1}}, "0.5"),
        ({"share": 1e-6, "cap_minor_per_day": {"EUR": 1}}, "at least"),
        ({"share": 0.1, "cap_minor_per_day": {"EUR": 1}, "into": "decline"}, "into"),
        ({"shares": 0.1}, "shares"),
        ({"tenants": {"shop": {"share": 0.1}}}, "cap_minor_per_day"),
    ],
)
def test_terms_that_risk_without_a_limit_are_refused(told: dict, said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(told, ExplorationTerms)


def test_the_share_is_let_through_where_the_cap_allows_it() -> None:
    explorer = Explorer(TERMS, MIDNIGHT, draw=Random(5).random)
    drawn = [explorer.of("default", "EUR", 1, MIDNIGHT + DAY_MS // 2) for _ in range(20_000)]
    chosen = [one for one in drawn if one is not None and one.into == "review"]
    assert len(chosen) / len(drawn) == pytest.approx(0.2, abs=0.01)
    assert {one.exploration.propensity for one in chosen} == {0.2}


def test_a_day_never_costs_more_than_its_cap() -> None:
    explorer = Explorer(TERMS, MIDNIGHT, draw=lambda: 0.0)
    spent = let_through(explorer, 3, 60_000, 700)
    # everything is let through that accrues
    assert all(99_000 < day <= 100_000 for day in spent[:3]), spent


def test_what_was_saved_is_gone_at_midnight() -> None:
    explorer = Explorer(TERMS, MIDNIGHT, draw=lambda: 0.0)
    for at, amount, into in (
        (DAY_MS - 1, 90_000, "review"), (DAY_MS + 1, 9_000, None), (DAY_MS + DAY_MS // 10, 9_999, "review"),
    ):  # fmt: skip
        drawn = explorer.of("default", "EUR", amount, MIDNIGHT + at)
        assert drawn is not None and drawn.into == into


def test_starting_again_gives_no_money_back() -> None:
    spent = 0
    for hour in range(24):
        explorer = Explorer(TERMS, MIDNIGHT + hour * DAY_MS // 24, draw=lambda: 0.0)
        spent += sum(let_through(explorer, 1 / 24, 60_000, 700, from_ms=MIDNIGHT + hour * DAY_MS // 24))
    assert 0 < spent <= 100_000


def test_processes_share_the_cap_and_tenants_have_their_own() -> None:
    one = Explorer(TERMS, MIDNIGHT, parts=4, draw=lambda: 0.0)
    assert 20_000 < let_through(one, 1, 60_000, 700)[0] <= 25_000
    other = one.of("shop", "EUR", 12_000, MIDNIGHT + DAY_MS - 1)
    assert other is not None and other.into == "review"


def test_what_costs_too_much_has_no_chance_and_says_so() -> None:
    explorer = Explorer(TERMS, MIDNIGHT, draw=lambda: 0.0)
    for currency, amount in (("EUR", 60_000), ("USD", 1)):
        drawn = explorer.of("default", currency, amount, MIDNIGHT + DAY_MS // 2)
        assert drawn is not None and (drawn.into, drawn.exploration.propensity) == (None, 0.0)
    # a clock that goes back gives nothing
    assert explorer.of("default", "EUR", 50_001, MIDNIGHT - 5 * DAY_MS).into is None  # type: ignore[union-attr]


def test_approval_is_possible_too() -> None:
    explorer = Explorer(
        ExplorationTerms(tenants={"shop": Terms(share=0.5, into="approve", cap_minor_per_day={"EUR": 10})}), 0.0,
        draw=lambda: 0.4,
    )  # fmt: skip
    drawn = explorer.of("shop", "EUR", 0, 1.0)
    assert drawn is not None and drawn.into == "approve"


def test_the_ones_let_through_stand_for_all_that_were_drawn() -> None:
    """Declined ones count nowhere, labelled or not; the others as many times as their chance says."""
    declined = np.array([True, True, False, False, True])
    propensity = np.array([0.1, 0.1, 0.1, np.nan, 0.0])
    stated = Stated(np.array([True, False, True, False, True]), np.zeros(5, bool), np.zeros(5, np.int64))
    labels = label_states(
        stated, np.zeros(5, np.int64), None, silence="honest", declined=declined, represented=declined & (propensity > 0)
    )  # fmt: skip
    assert labels.state.tolist() == [
        LabelState.CENSORED, LabelState.CENSORED, LabelState.FRAUD, LabelState.HONEST, LabelState.FRAUD,
    ]  # fmt: skip
    assert weights_of(propensity, declined).tolist() == [1, 1, pytest.approx(10), 1, 1]


def repeated(data: Dataset, weight: np.ndarray) -> Dataset:
    """Each row as many times as it weighs."""
    return data.take(np.repeat(np.arange(len(data)), weight.astype(int)))


def weighted(data: Dataset, weight: np.ndarray) -> Dataset:
    return Dataset(data.matrix, data.fraud, data.event_ms, data.card, weight=weight.astype(np.float32))


def test_a_row_of_weight_three_is_three_rows() -> None:
    """Oracle: the row thrice."""
    data = make_dataset(3_000)
    weight = np.random.default_rng(2).integers(1, 4, len(data)).astype(np.float64)
    scores = (1 / (1 + np.exp(-margins(fit(data, QUICK), data.matrix)))).astype(np.float32)
    once, thrice = weighted(data, weight), repeated(data, weight)
    each = np.repeat(scores, weight.astype(int))
    assert auc_roc(data.fraud, scores, weight) == pytest.approx(
        roc_auc_score(data.fraud, scores, sample_weight=weight)
    )
    assert average_precision(data.fraud, scores, weight) == pytest.approx(
        average_precision_score(data.fraud, scores, sample_weight=weight)
    )
    ours, theirs = fit_platt(scores, data.fraud, weight), fit_platt(each, thrice.fraud)
    assert ours.slope == pytest.approx(theirs.slope)
    assert ours.intercept == pytest.approx(theirs.intercept)
    terms = ReviewTerms(per_10k=300)
    policies = [choose_policy(found, by, "1", terms)[0] for found, by in ((once, scores), (thrice, each))]
    assert policies[0].decline == pytest.approx(policies[1].decline, rel=0.05)
    assert policies[0].review == pytest.approx(policies[1].review, rel=0.05)
    found = [evaluate(part, by, policies[0]) for part, by in ((once, scores), (thrice, each))]
    for name in (
        "auc_roc",
        "average_precision",
        "review",
        "decline",
        "fraud_caught_minor",
        "fraud_missed_minor",
    ):
        assert found[0][name] == pytest.approx(found[1][name]), name


def test_a_model_is_fitted_with_the_weights() -> None:
    """A row of weight 0 is as if it were not there."""
    data = make_dataset(3_000)
    kept = np.random.default_rng(2).random(len(data)) < 0.7
    whole = Parameters(rounds=20, subsample=1.0, colsample=1.0, max_bin=64)
    some = weighted(data, kept.astype(np.float32))
    scores = margins(fit(some, whole), data.matrix)
    alone = margins(fit(data.take(kept), whole), data.matrix)
    every = margins(fit(data, whole), data.matrix)
    assert np.abs(scores - alone).mean() < 0.5 * np.abs(scores - every).mean()
    assert some.fingerprint() != data.fingerprint() and some.take(kept).weight is not None
