"""What a threshold on the score would do: for many thresholds at once, for models side by side on the same rows.

By the score alone: rules, lists and thresholds by tenant are left out, so that one number moves one thing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.training.dataset import Dataset
from models.training.threshold_choice import span_days

#: thresholds: equal steps in log-odds between these two scores, because what matters lies close to 0 and to 1
LOW, HIGH, STEPS = 0.001, 0.999, 121


def thresholds() -> npt.NDArray[np.float64]:
    """The scores from which a payment is stopped, ascending; shape (STEPS,)."""
    low, high = np.log(LOW / (1 - LOW)), np.log(HIGH / (1 - HIGH))
    return 1 / (1 + np.exp(-np.linspace(low, high, STEPS)))


def threshold_effects(data: Dataset, scores: npt.NDArray[np.floating]) -> dict[str, Any]:
    """For each threshold: payments stopped a day, precision (None where none is stopped), recall (None without frauds), and the fraud
    that is missed, in minor units by currency. A row without a score is never stopped here."""
    given, at = np.nan_to_num(scores.astype(np.float64), nan=-1.0), thresholds()
    order = np.argsort(given, kind="stable")
    fraud = data.fraud[order]
    # the first row that a threshold stops
    first = np.searchsorted(given[order], at, side="left")
    hits_below = np.concatenate([[0], np.cumsum(fraud)])
    hits = hits_below[-1] - hits_below[first]
    stopped = len(order) - first
    amount, currency = np.nan_to_num(data.amount_minor().astype(np.float64))[order], data.currency()[order]
    missed = {}
    for name in sorted(set(currency[fraud].tolist())):
        below = np.concatenate([[0.0], np.cumsum(np.where(fraud & (currency == name), amount, 0.0))])
        missed[name] = [round(float(value)) for value in below[first]]
    days = span_days(data)
    return {
        "stopped_per_day": [round(float(value), 2) for value in stopped / days],
        "precision": [round(float(h / n), 4) if n else None for h, n in zip(hits, stopped, strict=True)],
        "recall": [round(float(h / hits_below[-1]), 4) if hits_below[-1] else None for h in hits],
        "missed_minor": missed,
    }  # fmt: skip
