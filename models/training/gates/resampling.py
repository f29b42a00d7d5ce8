"""Paired intervals by a bootstrap over cards: the payments of one card are not independent, so a card is drawn with all its rows.

Both models are measured on the same draws, so that what is hard for both does not widen the interval of their difference.
Source: Efron and Tibshirani 1993, chapter 8 (cluster bootstrap); Poisson weights in place of multinomial ones: Chamandy and
others 2012, "Estimating uncertainty for massive data streams".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

DRAWS = 400
#: share of draws outside of an interval
ALPHA = 0.05

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


class Draws:
    """``DRAWS`` random weightings of n rows, equal for rows of one card."""

    def __init__(self, card: npt.NDArray[Any], *, draws: int = DRAWS, seed: int = 19) -> None:
        _, self._codes = np.unique(card.astype(str), return_inverse=True)
        self.cards = int(self._codes.max()) + 1 if len(self._codes) else 0
        self._weights = np.random.default_rng(seed).poisson(1.0, (draws, self.cards)).astype(np.float32)

    def __len__(self) -> int:
        return len(self._weights)

    def rows(self, draw: int) -> npt.NDArray[np.float32]:
        """The weights (n,) of one draw."""
        weights: npt.NDArray[np.float32] = self._weights[draw][self._codes]
        return weights

    def sums(self, values: npt.NDArray[Any]) -> Floats:
        """The weighted sum (draws,) of one value a row (n,)."""
        per_card = np.bincount(self._codes, weights=values.astype(np.float64), minlength=self.cards)
        return np.asarray(self._weights @ per_card, dtype=np.float64)


def interval(estimate: float, drawn: Floats) -> Interval:
    """The percentile interval of an estimate; draws that are no number are left out."""
    estimate = float(estimate)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.quantile(drawn, (ALPHA / 2, 1 - ALPHA / 2))
    return Interval(estimate, float(low), float(high))


class Ranking:
    """Average precision of one model's scores under any weights of the rows; the scores are sorted once."""

    def __init__(self, fraud: Flags, scores: npt.NDArray[np.floating]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        # rows with equal scores are flagged together
        self._ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
        self._fraud = fraud[self._order].astype(np.float64)

    def average_precision(self, weights: npt.NDArray[np.floating]) -> float:
        """NaN where no fraud has weight."""
        w = weights[self._order].astype(np.float64)
        hits, seen = np.cumsum(w * self._fraud)[self._ends], np.cumsum(w)[self._ends]
        if not hits[-1]:
            return float("nan")
        some = seen > 0
        return float(np.sum(np.diff(hits, prepend=0.0)[some] / hits[-1] * hits[some] / seen[some]))
