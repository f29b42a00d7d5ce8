"""Thresholds by the money that is lost: those of least expected cost whose reviews people can do.

Of two thresholds, review <= decline, each row costs what its decision costs (``ExpectedLoss.costs``), with the calibrated score as its
chance of fraud. The cheapest pair over all scores is found exactly, in one pass: with rows ascending by score, a pair's cost is a sum
of a part that only the one and a part that only the other threshold moves, and the number of reviews bounds how far apart they are.
Source: Elkan 2001, "The foundations of cost-sensitive learning"; Bahnsen and others 2014, "Example-dependent cost-sensitive learning".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from features.currencies import money_text
from models.policy.policy import TRAINER
from models.policy.review_terms import ReviewTerms
from models.policy.thresholds import REVIEW, ExpectedLoss, Threshold
from models.training.dataset import DAY_MS, UNKNOWN_CURRENCY, Dataset, FloatArray

Floats = npt.NDArray[np.float64]
#: no threshold lies outside
LOWEST_REVIEW, LOWEST_DECLINE, HIGHEST = 1e-4, 2e-4, 0.9999
#: of a tenant with fewer rows there are no thresholds of its own
MIN_ROWS = 500
#: ISO 4217: no currency
_NO_CURRENCY = "XXX"
#: what decisions cost where nobody says, as shares of the usual amount and of each amount
_REVIEW_SHARE, _MARGIN_SHARE = 0.005, 0.02


class Pair(NamedTuple):
    """Two thresholds: stopped from ``review``, declined from ``decline`` on. ``cost``: of all rows; ``reviews``: their weight."""

    review: float
    decline: float
    cost: float
    reviews: float


def cheapest(
    scores: FloatArray, costs: Floats, weight: Floats, capacity: float, least_decline: float = 0.0
) -> Pair:
    """The pair of least cost whose reviews weigh at most ``capacity``; of equal ones that which declines least.

    Args:
        scores: (n,), n at least 1.
        costs: (3, n), of each row for each decision, by code.
        weight: (n,), how many payments each row stands for.
        least_decline: no lower threshold to decline.
    """
    order = np.argsort(scores, kind="stable")
    ordered, each = scores[order], weight[order].astype(np.float64)
    # a threshold before row k: rows of equal scores are not parted; n: above all
    places = np.append(np.flatnonzero(np.diff(ordered, prepend=np.float32(-1.0)) != 0), len(ordered))
    at = np.append(ordered, max(np.float32(HIGHEST), np.nextafter(ordered[-1], np.float32(2))))[places]
    approve, review, decline = (_sums(each * row[order])[places] for row in costs)
    reviewed = _sums(each)[places]
    by_review, by_decline = approve - review, review - decline
    declines = (at >= max(least_decline, LOWEST_DECLINE)) & (at <= 1)
    declines[-1] = True
    best: tuple[float, int, int] | None = None
    window: deque[int] = deque()
    oldest = 0
    for place in range(len(places)):
        if at[place] >= LOWEST_REVIEW or place == len(places) - 1:
            while window and by_review[window[-1]] >= by_review[place]:
                window.pop()
            window.append(place)
        while reviewed[place] - reviewed[oldest] > capacity:
            oldest += 1
        while window and window[0] < oldest:
            window.popleft()
        if declines[place] and window:
            cost = float(by_review[window[0]] + by_decline[place])
            if best is None or cost <= best[0]:
                best = (cost, window[0], place)
    assert best is not None  # nothing stopped is always possible
    cost, first, second = best
    review_at, decline_at = (float(min(at[place], 1.0)) for place in (first, second))
    return Pair(review_at, decline_at, cost + float(decline[-1]), float(reviewed[second] - reviewed[first]))


def usual_costs(data: Dataset) -> ExpectedLoss:
    """What decisions cost where nobody says: a fraud its amount, a wrong decline the margin, a review little."""
    names, counts = np.unique(data.currency().astype(str), return_counts=True)
    most = str(names[counts.argmax()]) if len(names) else UNKNOWN_CURRENCY
    return ExpectedLoss(
        currency=most if most != UNKNOWN_CURRENCY else _NO_CURRENCY,
        review_cost_minor=_REVIEW_SHARE * _usual_amount(data, data.currency() == most),
        lost_customer_minor=0.0, lost_margin=_MARGIN_SHARE,
    )  # fmt: skip


def in_one_currency(data: Dataset, costs: ExpectedLoss) -> Floats:
    """Each row's amount (n,) in minor units of the costs' currency. One without a rate is taken as if its usual payment were worth as much
    as theirs: good enough to choose thresholds by, and to add up nothing."""
    currency = data.currency()
    rate = costs.rate_of([None if name == UNKNOWN_CURRENCY else name for name in currency.tolist()])
    known = ~np.isnan(rate)
    for name in set(currency[~known].tolist()):
        inside = currency == name
        rate[inside] = _usual_amount(data, known) / _usual_amount(data, inside) if known.any() else 1.0
    return np.asarray(np.nan_to_num(data.amount_minor().astype(np.float64)) * rate, dtype=np.float64)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The chosen thresholds of one tenant, or of all that have none of their own (``tenant`` None).

    ``per_day``: reviews that people can do a day; ``reviews_per_day`` and ``cost_per_day`` (minor units of ``currency``): as expected on
    the rows that they were chosen on; ``cost_unstopped``: if nothing were stopped.
    """

    tenant: str | None
    review: float
    decline: float
    per_day: float
    reviews_per_day: float
    cost_per_day: float
    cost_unstopped: float
    currency: str


def choose(data: Dataset, scores: FloatArray, terms: ReviewTerms) -> list[Choice]:
    """Thresholds for all tenants, first, and for those with a number of reviews of their own and at least ``MIN_ROWS`` rows.

    Where nobody says what decisions cost, ``terms.decline_precision`` bounds the threshold to decline.

    Args:
        scores: calibrated probabilities (n,).
    """
    costs = terms.costs or usual_costs(data)
    amount, days, tenant = in_one_currency(data, costs), span_days(data), _tenants(data)
    least = 0.0 if terms.costs else score_at_precision(data, scores, terms.decline_precision)
    own = sorted(name for name in terms.tenants if (tenant == name).sum() >= MIN_ROWS)
    rest = ~np.isin(tenant, own)
    groups: list[tuple[str | None, npt.NDArray[np.bool_]]] = [(None, rest if rest.any() else ~rest)]
    groups += [(name, tenant == name) for name in own]
    found = []
    for name, inside in groups:
        weight = data.weights[inside].astype(np.float64)
        able = terms.able(name, weight.sum() / days)
        each = costs.costs(scores[inside].astype(np.float64), amount[inside])
        pair = cheapest(scores[inside], each, weight, able * days, least)
        found.append(
            Choice(
                tenant=name, review=pair.review, decline=pair.decline, per_day=float(able), reviews_per_day=pair.reviews / days,
                cost_per_day=pair.cost / days, cost_unstopped=float((each[0] * weight).sum()) / days, currency=costs.currency,
            )
        )  # fmt: skip
    return found


def score_at_precision(data: Dataset, scores: FloatArray, precision: float) -> float:
    """The lowest score above which at least a share ``precision`` are frauds."""
    order = np.argsort(-scores, kind="stable")
    weight = data.weights[order].astype(np.float64)
    hits, flagged = np.cumsum(weight * data.fraud[order]), np.cumsum(weight)
    # a few rows at the top prove nothing
    good = np.flatnonzero((hits >= precision * flagged) & (np.arange(1, len(order) + 1) >= 10))
    # if the slice is too small to show it, use the calibrated probability of that value
    return float(scores[order[good[-1]]]) if len(good) else precision


def thresholds_of(choices: list[Choice]) -> tuple[Threshold, ...]:
    """Those of single tenants, as a policy has them."""
    return tuple(
        Threshold(review=found.review, decline=found.decline, tenant=found.tenant, owner=TRAINER)
        for found in choices
        if found.tenant is not None
    )


def burden(data: Dataset, codes: npt.NDArray[np.int8], terms: ReviewTerms) -> dict[str, Any]:
    """What decisions mean for people and money, by the labels: reviews a day beside how many people can do, and what was lost a day in
    minor units of ``lost_currency``."""
    costs = terms.costs or usual_costs(data)
    weight, days = data.weights.astype(np.float64), span_days(data)
    each = costs.costs(data.fraud.astype(np.float64), in_one_currency(data, costs))
    lost = weight * np.take_along_axis(each, codes[None, :].astype(np.intp), 0)[0]
    able = terms.able(None, weight.sum() / days) + sum(terms.tenants.values())
    return {
        "reviews_per_day": float(weight[codes == REVIEW].sum() / days), "review_capacity_per_day": float(able),
        "lost_per_day_minor": round(float(lost.sum() / days)), "lost_currency": costs.currency,
    }  # fmt: skip


def in_words(evaluation: Mapping[str, Any]) -> list[str]:
    """How a bundle's thresholds were chosen: what was expected on the rows that they were chosen on, and what came of them on newer ones.
    Empty where its evaluation does not say."""
    lines = []
    for one in evaluation.get("thresholds", ()):
        lost, unstopped = (
            money_text(one[name], one["currency"]) for name in ("cost_per_day", "cost_unstopped")
        )
        lines.append(
            f"{one['tenant'] or 'all tenants'}: review from {one['review']:.3f}, decline from {one['decline']:.3f}: {one['reviews_per_day']:,.1f} "
            f"reviews a day of {one['per_day']:,.1f} that people can do; {lost} lost a day, {unstopped} if nothing were stopped"
        )  # fmt: skip
    if lines:
        lost = money_text(evaluation["lost_per_day_minor"], evaluation["lost_currency"])
        lines.append(
            f"on newer rows, by their labels: {evaluation['reviews_per_day']:,.1f} reviews and {lost} lost a day"
        )
    return lines


def span_days(data: Dataset) -> float:
    """Days between the first and the last row, at least one."""
    return max(1.0, float(data.event_ms[-1] - data.event_ms[0]) / DAY_MS) if len(data) else 1.0


def _tenants(data: Dataset) -> npt.NDArray[Any]:
    if data.fields is None or "tenant" not in data.fields.column_names:
        return np.full(len(data), "", dtype=object)
    return np.array([name or "" for name in data.fields["tenant"].to_pylist()], dtype=object)


def _usual_amount(data: Dataset, inside: npt.NDArray[np.bool_]) -> float:
    """The median amount of some rows, at least one minor unit."""
    amounts = data.amount_minor()[inside]
    amounts = amounts[np.isfinite(amounts)]
    return max(1.0, float(np.median(amounts))) if len(amounts) else 1.0


def _sums(values: Floats) -> Floats:
    """Of the first 0, 1, … n values (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(values)])
