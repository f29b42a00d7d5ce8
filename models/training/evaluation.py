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
from models.training.dataset import DAY_MS, Dataset, FloatArray

CAPACITY = 100


def auc_roc(fraud: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> float | None:
    """Area under the ROC curve (Mann-Whitney, ties count half); None if a class is missing."""
    positives, negatives = int(fraud.sum()), int((~fraud).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[inverse][fraud].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(fraud: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> float | None:
    """Sum of precision times the step in recall, over distinct scores; None without frauds."""
    positives = int(fraud.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(fraud[order])
    ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    recall = hits[ends] / positives
    return float(np.sum(np.diff(recall, prepend=0.0) * hits[ends] / (ends + 1)))


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
    fraud: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating], bins: int = 10
) -> float | None:
    """Expected calibration error: mean |predicted - observed| over bins of equal size; None without rows."""
    if not len(scores):
        return None
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    gaps = [
        len(part) * abs(float(scores[part].mean()) - float(fraud[part].mean())) for part in parts if len(part)
    ]
    return float(sum(gaps) / len(scores))


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


def evaluate(data: Dataset, scores: FloatArray, policy: Policy) -> dict[str, Any]:
    """All figures of one model on one data set: ranking, results with the whole policy, money in minor units by currency.

    Where the rows' fields are not known, whatever names one has no effect (``Policy.decide``).
    """
    codes, _ = policy.decide(scores, data.matrix, data.columns())
    stopped = codes > 0
    return {
        "rows": len(data),
        "frauds": data.frauds,
        "auc_roc": auc_roc(data.fraud, scores),
        "average_precision": average_precision(data.fraud, scores),
        f"card_precision_at_{CAPACITY}": card_precision(data, scores),
        "calibration_error": calibration_error(data.fraud, scores),
        "review": _at(data.fraud, stopped),
        "decline": _at(data.fraud, codes > 1),
        "fraud_missed_minor": money(data, data.fraud & ~stopped),
        "fraud_caught_minor": money(data, data.fraud & stopped),
    }


def money(data: Dataset, chosen: npt.NDArray[np.bool_]) -> dict[str, int]:
    """The amounts of chosen rows in minor units, for each currency of the data by itself: currencies are never added."""
    amount, currency = np.nan_to_num(data.amount_minor().astype(np.float64)), data.currency()
    return {
        name: round(float(amount[chosen & (currency == name)].sum()))
        for name in sorted(set(currency.tolist()))
    }


def compare(
    candidate: tuple[Callable[[Dataset], FloatArray], Policy], live: tuple[Callable[[Dataset], FloatArray], Policy],
    data: Dataset,
) -> dict[str, Any]:  # fmt: skip
    """Figures of two models, each (score function, policy), on the same rows, and the difference candidate minus live."""
    ours = evaluate(data, candidate[0](data), candidate[1])
    theirs = evaluate(data, live[0](data), live[1])
    names = ("auc_roc", "average_precision", f"card_precision_at_{CAPACITY}", "calibration_error")
    difference = {
        name: ours[name] - theirs[name]
        for name in names
        if ours[name] is not None and theirs[name] is not None
    }
    return {"candidate": ours, "live": theirs, "difference": difference}


def _at(fraud: npt.NDArray[np.bool_], flagged: npt.NDArray[np.bool_]) -> dict[str, Any]:
    hits, flags, frauds = int((fraud & flagged).sum()), int(flagged.sum()), int(fraud.sum())
    return {
        "flagged": flags,
        "precision": hits / flags if flags else None,
        "recall": hits / frauds if frauds else None,
        "false_alarms": flags - hits,
    }
