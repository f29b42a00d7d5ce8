"""Thresholds of least expected loss under review capacity, against trying every pair."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from features.catalogue import INDEX, WIDTH
from models.policy.policy import TRAINER, Policy
from models.policy.review_terms import ReviewTerms
from models.policy.thresholds import ExpectedLoss, Threshold
from models.training.dataset import DAY_MS, Dataset
from models.training.evaluation import evaluate
from models.training.threshold_choice import (
    HIGHEST,
    Pair,
    burden,
    cheapest,
    choose,
    in_one_currency,
    in_words,
    thresholds_of,
    usual_costs,
)
from models.training.training import choose_policy

COSTS = ExpectedLoss(currency="EUR", review_cost_minor=300, lost_customer_minor=2_000, review_misses=0.1)


def every_pair(
    scores: np.ndarray, costs: np.ndarray, weight: np.ndarray, capacity: float, least: float
) -> Pair:
    """Oracle: all pairs of scores, each row decided and counted by itself."""
    above = max(np.float32(HIGHEST), np.nextafter(scores.max(), np.float32(2)))
    tried = [*np.unique(scores), above]
    best = None
    for review, decline in itertools.product(tried, tried):
        if review > decline or (decline < max(least, 2e-4) and decline < above):
            continue
        codes = (scores >= review).astype(int) + (scores >= decline)
        reviews = float(weight[codes == 1].sum())
        if reviews <= capacity:
            cost = float((weight * costs[codes, np.arange(len(scores))]).sum())
            if best is None or cost < best.cost - 1e-9:
                best = Pair(float(review), float(decline), cost, reviews)
    assert best is not None
    return best


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_cheapest_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    # few distinct scores in every second case: rows of equal scores are decided alike
    scores = np.round(rng.beta(0.3, 2, n), 2 if seed % 2 else 6).clip(1e-3, 0.99).astype(np.float32)
    weight = rng.integers(1, 4, n).astype(float)
    costs = COSTS.costs(scores.astype(float), rng.integers(1, 100_000, n).astype(float))
    capacity, least = float(rng.choice([0, 1, 5, 1000])), float(rng.choice([0.0, 0.3]))
    ours, theirs = (found(scores, costs, weight, capacity, least) for found in (cheapest, every_pair))
    assert ours.cost == pytest.approx(theirs.cost)
    assert ours.reviews <= capacity
    # and its cost is that of its thresholds, decided as a policy does
    codes = Policy("1", ours.review, ours.decline).decide(scores)[0]
    assert (weight * costs[codes, np.arange(n)]).sum() == pytest.approx(ours.cost)
    assert weight[codes == 1].sum() == pytest.approx(ours.reviews)


def rows(
    n: int = 4_000, days: float = 4.0, tenants: tuple[str, ...] = ("default",)
) -> tuple[Dataset, np.ndarray]:
    rng = np.random.default_rng(3)
    matrix = np.full((n, WIDTH), np.nan, np.float32)
    matrix[:, INDEX["amount"]] = rng.lognormal(8, 1, n)
    scores = rng.beta(0.05, 2, n).clip(1e-4, 0.99).astype(np.float32)
    fields = pa.table({"currency": rng.choice(["EUR", "JPY"], n), "tenant": rng.choice(tenants, n)})
    at = np.sort(rng.integers(0, int(days * DAY_MS), n)).astype(np.int64)
    return Dataset(matrix, rng.random(n) < scores, at, np.arange(n), fields=fields), scores


def test_people_are_given_no_more_than_they_can_do() -> None:
    data, scores = rows()
    costs = []
    for per_day in (0.5, 5, 50, 500):
        (found,) = choose(data, scores, ReviewTerms(per_day=per_day, costs=COSTS))
        assert found.reviews_per_day <= found.per_day == per_day
        costs.append(found.cost_per_day)
    # whoever can review more loses no more
    assert costs == sorted(costs, reverse=True) and costs[0] > costs[-1]
    assert costs[0] < found.cost_unstopped


def test_a_tenant_with_its_own_reviewers_has_its_own_thresholds() -> None:
    data, scores = rows(tenants=("a", "b", "small"))
    terms = ReviewTerms(per_day=50, tenants={"a": 2, "unseen": 9}, costs=COSTS)
    rest, own = choose(data, scores, terms)
    assert (rest.tenant, own.tenant, own.per_day) == (None, "a", 2)
    assert own.review > rest.review and own.reviews_per_day <= 2
    policy, choices = choose_policy(data, scores, "1", terms)
    assert policy.thresholds == thresholds_of(choices)
    assert policy.thresholds == (
        Threshold(review=own.review, decline=own.decline, tenant="a", owner=TRAINER),
    )
    # what a person set for the tenant stands; what training chose before is replaced
    person = Threshold(tenant="a", review=0.2, decline=0.4)
    live = msgspec.structs.replace(policy, thresholds=(person,))
    assert policy.with_parts_of(live).thresholds == (person,)
    older = msgspec.structs.replace(
        policy, thresholds=(msgspec.structs.replace(policy.thresholds[0], review=0.01),)
    )
    assert policy.with_parts_of(older).thresholds == policy.thresholds


def test_without_stated_costs_declines_are_precise_and_reviews_a_share_of_the_payments() -> None:
    data, scores = rows()
    (found,) = choose(data, scores, ReviewTerms(per_10k=60))
    days = (data.event_ms[-1] - data.event_ms[0]) / DAY_MS
    assert found.per_day == pytest.approx(0.006 * len(data) / days)
    assert data.fraud[scores >= np.float32(found.decline)].mean() >= 0.7
    assert found.currency in ("EUR", "JPY") and usual_costs(data).currency == found.currency


def test_currencies_without_a_rate_are_taken_by_their_usual_payment() -> None:
    data, _ = rows()
    inside = data.currency() == "JPY"
    data.matrix[inside, INDEX["amount"]] *= 160
    amount = in_one_currency(data, COSTS)
    assert np.median(amount[inside]) == pytest.approx(np.median(amount[~inside]), rel=1e-3)
    stated = in_one_currency(data, msgspec.structs.replace(COSTS, rates={"JPY": 0.5}))
    assert stated[inside] == pytest.approx(data.amount_minor()[inside] * 0.5)


def test_what_decisions_mean_is_counted_row_by_row() -> None:
    data, scores = rows()
    terms = ReviewTerms(per_day=7, tenants={"x": 3}, costs=msgspec.structs.replace(COSTS, rates={"JPY": 2.0}))
    policy = Policy("1", 0.3, 0.6)
    found = evaluate(data, scores, policy, terms)
    codes = policy.decide(scores)[0]
    days = (data.event_ms[-1] - data.event_ms[0]) / DAY_MS
    lost = 0.0
    for code, fraud, amount, currency in zip(
        codes, data.fraud, data.amount_minor(), data.currency(), strict=True
    ):
        worth = float(amount) * (2.0 if currency == "JPY" else 1.0)
        approve, review, decline = (
            worth if fraud else 0.0,
            300 + (0.1 * worth if fraud else 0.0),
            0.0 if fraud else 2_000.0,
        )
        lost += (approve, review, decline)[code]
    assert found["lost_per_day_minor"] == pytest.approx(lost / days, rel=1e-4)
    assert found["reviews_per_day"] == pytest.approx((codes == 1).sum() / days)
    assert (found["review_capacity_per_day"], found["lost_currency"]) == (10, "EUR")
    assert burden(data, codes, terms).items() <= found.items()


def test_people_read_how_thresholds_were_chosen() -> None:
    data, scores = rows(tenants=("a", "b"))
    terms = ReviewTerms(per_day=5, tenants={"a": 2}, costs=COSTS)
    policy, choices = choose_policy(data, scores, "1", terms)
    found = evaluate(data, scores, policy, terms) | {"thresholds": msgspec.to_builtins(choices)}
    lines = in_words(found)
    assert (
        len(lines) == 3
        and lines[0].startswith("all tenants: review from")
        and "of 5.0 that people can do" in lines[0]
    )
    assert lines[1].startswith("a: ") and "EUR lost a day" in lines[2]
    assert in_words({}) == []


@pytest.mark.parametrize(
    "text",
    ['{"per_day": 0}', '{"costs": {"currency": "EUR", "review_cost_minor": 1, "lost_customer_minor": 1, "tenants": ["a"]}}', '{"perday": 3}'],
)  # fmt: skip
def test_terms_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=ReviewTerms)
