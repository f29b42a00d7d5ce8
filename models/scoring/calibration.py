"""Calibration: from a model's margin (log-odds) to the probability of fraud, by Platt's strictly monotone sigmoid.

It is applied to the margin in the same way for every backend, so backends cannot disagree about a decision. Source: Platt
1999, with the smoothed targets of Lin, Lin and Weng 2007 ("A note on Platt's probabilistic outputs").
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class CalibrationError(Exception):
    """A calibration cannot be fitted or would not keep the order of scores; the text says why."""


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """probability = 1 / (1 + exp(-(slope * margin + intercept))); ``slope`` is positive."""

    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and np.isfinite(self.intercept) and self.slope > 0):
            raise CalibrationError(
                f"slope {self.slope} and intercept {self.intercept} must be finite, the slope above 0"
            )

    def apply(self, margin: npt.NDArray[np.floating]) -> FloatArray:
        """Margins (n,) to probabilities (n,), float32."""
        logit = np.asarray(margin, dtype=np.float64) * self.slope + self.intercept
        # exp of a large negative logit would overflow
        return (1.0 / (1.0 + np.exp(-np.clip(logit, -700.0, 700.0)))).astype(np.float32)


def fit_platt(
    margin: npt.NDArray[np.floating], fraud: npt.NDArray[np.bool_], weight: npt.NDArray[np.floating] | None = None, *,
    iterations: int = 100,
) -> Calibration:  # fmt: skip
    """Fit slope and intercept by Newton's method on held-out margins (n,), labels (n,) and weights (n,); None: all weigh the same.

    Raises:
        CalibrationError: only one class is present, or higher margins do not mean more fraud.
    """
    rows = int(fraud.sum()), int((~fraud).sum())
    if not all(rows):
        raise CalibrationError(f"calibration needs both classes, got {rows[0]} frauds and {rows[1]} others")
    each = np.ones(len(fraud)) if weight is None else np.asarray(weight, dtype=np.float64)
    positives, negatives = float(each[fraud].sum()), float(each[~fraud].sum())
    target = np.where(fraud, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    x = np.asarray(margin, dtype=np.float64)
    weights = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
    loss = _loss(weights, x, target, each)
    for _ in range(iterations):
        p = _sigmoid(weights[0] * x + weights[1])
        off = each * (p - target)
        gradient = np.array([np.dot(off, x), np.sum(off)])
        w = each * p * (1 - p)
        hessian = np.array([[np.dot(w, x * x), np.dot(w, x)], [np.dot(w, x), w.sum()]]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-8 and _loss(weights - size * step, x, target, each) > loss:
            size /= 2
        weights = weights - size * step
        before, loss = loss, _loss(weights, x, target, each)
        if before - loss < 1e-9 * max(1.0, abs(loss)):
            break
    if weights[0] <= 0:
        raise CalibrationError(
            "on the held-out slice higher scores do not mean more fraud: the model has learnt nothing"
        )
    return Calibration(float(weights[0]), float(weights[1]))


def _sigmoid(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -700.0, 700.0))))


def _loss(
    weights: npt.NDArray[np.float64], x: npt.NDArray[np.float64], target: npt.NDArray[np.float64],
    each: npt.NDArray[np.float64],
) -> float:  # fmt: skip
    logit = weights[0] * x + weights[1]
    return float(np.sum(each * (np.logaddexp(0.0, logit) - target * logit)))
