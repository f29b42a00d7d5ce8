"""A ratio of two sums over payments with its interval. Payments of one card are not independent: the card is the unit.

Source: Cochran 1977, "Sampling Techniques", chapter 6 (variance of a ratio of two sums over clusters). The interval of a share is
Wilson's with as many payments as would have that variance if they were independent.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.training.gates.curves import wilson

Values = npt.NDArray[Any]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """``estimate`` None: there is nothing to divide by. ``n``: rows that it rests on, ``error``: standard error of the estimate."""

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    error: float | None = None


NOTHING = Ratio(estimate=None, low=None, high=None, n=0)


def share(part: Values, whole: Values, card: Values) -> Ratio:
    """Sum of ``part`` by sum of ``whole``, each (n,) and part at most whole: a share in [0, 1] with its 95 % interval."""
    rows = whole > 0
    if not rows.any():
        return NOTHING
    part, whole, card = part[rows].astype(np.float64), whole[rows].astype(np.float64), card[rows]
    p, error = _ratio(part, whole, card)
    weights = float(whole.sum()) ** 2 / float((whole**2).sum())
    # as many independent rows as have this error; never more than there are
    independent = min(weights, p * (1 - p) / error**2) if error > 0 else weights
    low, high = wilson(p * independent, independent)
    return Ratio(estimate=p, low=low, high=high, n=len(part), error=error)


def ratio(part: Values, whole: Values, card: Values, *, floor: float = 0.0) -> Ratio:
    """Sum of ``part`` by sum of ``whole``, each (n,); the interval is that of its logarithm.

    Args:
        floor: added to the sum of ``part``, so that none at all has an interval too.
    """
    if not whole.sum():
        return NOTHING
    p, error = _ratio(part.astype(np.float64), whole.astype(np.float64), card)
    p = max(p, floor / float(whole.sum()))
    if p <= 0:
        return Ratio(estimate=p, low=None, high=None, n=len(part), error=error)
    # a sum of frauds is at least as uncertain as a Poisson count
    spread = max(error / p, 1 / math.sqrt(max(float(part.sum()), floor, 1.0)))
    factor = math.exp(1.96 * spread)
    return Ratio(estimate=p, low=p / factor, high=p * factor, n=len(part), error=spread * p)


def odds_against(found: Ratio) -> Ratio:
    """(1 - p) / p of a share: false alarms for each fraud that is stopped, if p is precision."""
    if not found.estimate:
        return msgspec.structs.replace(found, estimate=None, low=None, high=None, error=None)
    low, high = ((1 - p) / p if p else None for p in (found.high, found.low))
    return Ratio(estimate=(1 - found.estimate) / found.estimate, low=low, high=high, n=found.n)


def _ratio(part: Values, whole: Values, card: Values) -> tuple[float, float]:
    """(ratio, standard error) with cards as clusters."""
    total = float(whole.sum())
    p = float(part.sum()) / total
    _, codes = np.unique(card.astype(str), return_inverse=True)
    clusters = int(codes.max()) + 1
    off = np.bincount(codes, weights=part - p * whole, minlength=clusters)
    scale = clusters / (clusters - 1) if clusters > 1 else 1.0
    return p, math.sqrt(scale * float((off**2).sum())) / total
