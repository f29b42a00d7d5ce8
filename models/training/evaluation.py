"""How good a model is: ranking, precision at an issuer's daily capacity, thresholds, calibration; alone or against another model.

Card precision at k as in the Fraud Detection Handbook (chapter 4.4): each day, rank cards by their highest score and take the
share of the top k that are compromised that day; a detected card is left out on later days; average over the days.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from models.policy.policy import Policy
from models.policy.review_terms import NO_TERMS, ReviewTerms
from models.training.dataset import DAY_MS, Dataset, FloatArray
from models.training.gates.resampling import Ranking
from models.training.threshold_choice import burden

CAPACITY = 100
Weight = npt.NDArray[np.floating]


def auc_roc(
    fraud: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating], weight: Weight | None = None
) -> float | None:
    """Area under the ROC curve (Mann-Whitney, ties count half); None if a class is missing. ``weight`` (n,): None: all the same."""
    if fraud.all() or not fraud.any():
        return None
    each = _each(fraud, weight)
    values, inverse = np.unique(scores, return_inverse=True)
    bad = np.bincount(inverse, each * fraud, len(values))
    good = np.bincount(inverse, each * ~fraud, len(values))
    return float((bad * (np.cumsum(good) - good / 2)).sum() / (bad.sum() * good.sum()))


def average_precision(
    fraud: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating], weight: Weight | None = None
) -> float | None:
    """Sum of precision times the step in recall, over distinct scores; None without frauds. ``weight`` (n,): None: all the same."""
    if not fraud.any():
        return None
    return Ranking(fraud, scores).average_precision(_each(fraud, weight))


def card_precision(data: Dataset, scores: npt.NDArray[np.floating], k: int = CAPACITY) -> float | None:
    """Mean over event days (UTC) of the share of compromised cards among the day's top ``k``; None where nothing can be found."""
    if not data.frauds:
        return None
    codes = np.unique(data.card, return_inverse=True)[1]
    days = data.event_ms // DAY_MS
    detected = np.zeros(codes.max() + 1, bool)
    shares = []
    for day in range(int(days.min()), int(days.max()) + 1):
        rows = np.flatnonzero((days == day) & ~detected[codes])
        best = np.full(len(detected), -np.inf)
        np.maximum.at(best, codes[rows], scores[rows])
        compromised = np.zeros(len(detected), bool)
        compromised[codes[rows][data.fraud[rows]]] = True
        seen = np.flatnonzero(best > -np.inf)
        top = seen[np.argsort(-best[seen], kind="stable")[:k]]
        found = top[compromised[top]]
        shares.append(len(found) / k)
        detected[found] = True
    return float(np.mean(shares))


def calibration_error(
    fraud: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.floating],
    weight: Weight | None = None,
    bins: int = 10,
) -> float | None:
    """Expected calibration error: mean |predicted - observed| over bins of as many rows; None without rows."""
    if not len(scores):
        return None
    each = _each(fraud, weight)
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    gaps = [abs(float((each[part] * (scores[part] - fraud[part])).sum())) for part in parts]
    return float(sum(gaps) / each.sum())


def without_known_frauds(
    test: Dataset, known: Dataset, delay_days: int, train_start_ms: int, train_end_ms: int
) -> Dataset:
    """The test rows without cards known to be compromised: by a fraud in training, or one up to test day - delay - 1.

    Args:
        known: all labelled rows since the start of training.
        train_start_ms, train_end_ms: training rows have event time in [start, end).
    """
    frauds = known.take(known.fraud & (known.event_ms >= train_start_ms))
    cards, fraud_days = frauds.card, frauds.event_ms // DAY_MS
    in_training = frauds.event_ms < train_end_ms
    keep = np.ones(len(test), bool)
    days = test.event_ms // DAY_MS
    for day in np.unique(days):
        compromised = cards[in_training | (fraud_days <= day - delay_days - 1)]
        keep[(days == day) & np.isin(test.card, compromised)] = False
    return test.take(keep)


def evaluate(
    data: Dataset, scores: FloatArray, policy: Policy, terms: ReviewTerms = NO_TERMS
) -> dict[str, Any]:
    """All figures of one model on one data set: ranking, results with the whole policy, money in minor units by currency, and what that
    means for those who review (``threshold_choice.burden``).

    Where the rows' fields are not known, whatever names one has no effect (``Policy.decide``).
    """
    codes, _ = policy.decide(scores, data.matrix, data.columns())
    stopped = codes > 0
    return {
        "rows": len(data),
        "frauds": data.frauds,
        "auc_roc": auc_roc(data.fraud, scores, data.weight),
        "average_precision": average_precision(data.fraud, scores, data.weight),
        f"card_precision_at_{CAPACITY}": card_precision(data, scores),
        "calibration_error": calibration_error(data.fraud, scores, data.weight),
        "review": _at(data, stopped),
        "decline": _at(data, codes > 1),
        "fraud_missed_minor": money(data, data.fraud & ~stopped),
        "fraud_caught_minor": money(data, data.fraud & stopped),
        **burden(data, codes, terms),
    }


def money(data: Dataset, chosen: npt.NDArray[np.bool_]) -> dict[str, int]:
    """The amounts of chosen rows in minor units, for each currency of the data by itself: currencies are never added."""
    amount, currency = data.weights * np.nan_to_num(data.amount_minor().astype(np.float64)), data.currency()
    return {
        name: round(float(amount[chosen & (currency == name)].sum()))
        for name in sorted(set(currency.tolist()))
    }


def compare(
    candidate: tuple[Callable[[Dataset], FloatArray], Policy], live: tuple[Callable[[Dataset], FloatArray], Policy],
    data: Dataset, terms: ReviewTerms = NO_TERMS,
) -> dict[str, Any]:  # fmt: skip
    """Figures of two models, each (score function, policy), on the same rows, and the difference candidate minus live."""
    ours = evaluate(data, candidate[0](data), candidate[1], terms)
    theirs = evaluate(data, live[0](data), live[1], terms)
    names = ("auc_roc", "average_precision", f"card_precision_at_{CAPACITY}", "calibration_error")
    difference = {
        name: ours[name] - theirs[name]
        for name in names
        if ours[name] is not None and theirs[name] is not None
    }
    return {"candidate": ours, "live": theirs, "difference": difference}


def _at(data: Dataset, flagged: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Counts of payments: a row that stands for several counts as many."""
    each = _each(data.fraud, data.weight)
    hits, flags, frauds = (float(each[rows].sum()) for rows in (data.fraud & flagged, flagged, data.fraud))
    return {
        "flagged": round(flags),
        "precision": hits / flags if flags else None,
        "recall": hits / frauds if frauds else None,
        "false_alarms": round(flags - hits),
    }


def _each(fraud: npt.NDArray[np.bool_], weight: Weight | None) -> npt.NDArray[np.float64]:
    return np.ones(len(fraud)) if weight is None else np.asarray(weight, dtype=np.float64)
