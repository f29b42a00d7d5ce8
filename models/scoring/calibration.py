"""Calibration: from a model's margin (log-odds) to the probability of fraud, by Platt's sigmoid or by beta calibration, which bends it.

Both are strictly monotone, and applied to the margin in the same way for every backend, so backends cannot disagree about a decision.
Sources: Platt 1999, with the smoothed targets of Lin, Lin and Weng 2007 ("A note on Platt's probabilistic outputs"); Kull, Silva Filho and
Flach 2017, "Beta calibration".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Margins = npt.NDArray[np.floating]
Weights = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
CalibrationKind = Literal["platt", "beta"]
ITERATIONS = 100


class CalibrationError(Exception):
    """A calibration cannot be fitted or would not keep the order of scores; the text says why."""


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The log-odds of fraud are ``slope * ln p - upper_slope * ln(1 - p) + intercept``, with p the sigmoid of the margin.

    Slopes are positive. ``upper_slope`` None: as ``slope``, and the log-odds are ``slope * margin + intercept`` (Platt).
    """

    slope: float = 1.0
    intercept: float = 0.0
    upper_slope: float | None = None

    def __post_init__(self) -> None:
        upper = self.slope if self.upper_slope is None else self.upper_slope
        if not (np.isfinite([self.slope, self.intercept, upper]).all() and self.slope > 0 and upper > 0):
            raise CalibrationError(
                f"slope {self.slope}, upper slope {upper} and intercept {self.intercept} must be finite, the slopes above 0"
            )

    @property
    def kind(self) -> CalibrationKind:
        return "platt" if self.upper_slope is None else "beta"

    def apply(self, margin: npt.NDArray[np.floating]) -> FloatArray:
        """Margins (n,) to probabilities (n,), float32."""
        m = np.asarray(margin, dtype=np.float64)
        if self.upper_slope is None:
            logit = m * self.slope + self.intercept
        else:
            logit = (
                -self.slope * np.logaddexp(0.0, -m) + self.upper_slope * np.logaddexp(0.0, m) + self.intercept
            )
        return _sigmoid(logit).astype(np.float32)


class Fitted(NamedTuple):
    """``log_loss``: mean over held-out rows that each kind was not fitted to, by kind."""

    calibration: Calibration
    log_loss: dict[CalibrationKind, float]


def fit_calibration(margin: Margins, fraud: Flags, weight: Weights | None = None) -> Fitted:
    """The kind of less log loss, each fitted to one half of the held-out rows and measured on the other; then fitted to all.

    Raises:
        CalibrationError: only one class is present, or higher margins do not mean more fraud.
    """
    fitted: dict[CalibrationKind, Calibration] = {"platt": fit_platt(margin, fraud, weight)}
    each = np.ones(len(fraud)) if weight is None else np.asarray(weight, dtype=np.float64)
    # every second fraud, every second honest row
    second = np.zeros(len(fraud), bool)
    for inside in (fraud, ~fraud):
        second[np.flatnonzero(inside)[1::2]] = True
    losses: dict[CalibrationKind, float] = {}
    for kind, fit in _KINDS.items():
        try:
            fitted[kind] = fit(margin, fraud, weight)
            total = 0.0
            for half in (second, ~second):
                p = fit(margin[half], fraud[half], each[half]).apply(margin[~half]).astype(np.float64)
                p = np.where(fraud[~half], p, 1 - p).clip(1e-12)
                total -= float((each[~half] * np.log(p)).sum())
            losses[kind] = total / float(each.sum())
        except CalibrationError:
            continue
    # each must be known to be chosen by it
    best = min(losses, key=losses.__getitem__) if len(losses) == len(_KINDS) else "platt"
    return Fitted(fitted[best], losses)


def fit_platt(margin: Margins, fraud: Flags, weight: Weights | None = None) -> Calibration:
    """Fit slope and intercept on held-out margins (n,), labels (n,) and weights (n,); None: all weigh the same.

    Raises:
        CalibrationError: only one class is present, or higher margins do not mean more fraud.
    """
    slope, intercept = _logistic(np.asarray(margin, dtype=np.float64)[:, None], fraud, weight)
    if slope <= 0:
        raise CalibrationError(
            "on the held-out slice higher scores do not mean more fraud: the model has learnt nothing"
        )
    return Calibration(slope, intercept)


def fit_beta(margin: Margins, fraud: Flags, weight: Weights | None = None) -> Calibration:
    """Fit both slopes and the intercept, as ``fit_platt``.

    Raises:
        CalibrationError: only one class is present, or the best curve is not strictly monotone.
    """
    m = np.asarray(margin, dtype=np.float64)
    slope, upper, intercept = _logistic(
        np.column_stack([-np.logaddexp(0.0, -m), np.logaddexp(0.0, m)]), fraud, weight
    )
    return Calibration(slope, intercept, upper)


_KINDS: dict[CalibrationKind, Callable[[Margins, Flags, Weights | None], Calibration]] = {
    "platt": fit_platt, "beta": fit_beta,
}  # fmt: skip


def _logistic(x: npt.NDArray[np.float64], fraud: Flags, weight: Weights | None) -> list[float]:
    """The coefficients of k columns (n, k), then the intercept, of least log loss by Newton's method, with Platt's smoothed targets."""
    rows = int(fraud.sum()), int((~fraud).sum())
    if not all(rows):
        raise CalibrationError(f"calibration needs both classes, got {rows[0]} frauds and {rows[1]} others")
    each = np.ones(len(fraud)) if weight is None else np.asarray(weight, dtype=np.float64)
    positives, negatives = float(each[fraud].sum()), float(each[~fraud].sum())
    target = np.where(fraud, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    x = np.column_stack([x, np.ones(len(x))])
    point = np.zeros(x.shape[1])
    point[-1] = np.log((positives + 1) / (negatives + 1))
    loss = _loss(point, x, target, each)
    for _ in range(ITERATIONS):
        p = _sigmoid(x @ point)
        hessian = (x * (each * p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(len(point))
        step = np.linalg.solve(hessian, x.T @ (each * (p - target)))
        size = 1.0
        while size > 1e-8 and _loss(point - size * step, x, target, each) > loss:
            size /= 2
        point = point - size * step
        before, loss = loss, _loss(point, x, target, each)
        if before - loss < 1e-9 * max(1.0, abs(loss)):
            break
    return [float(value) for value in point]


def _sigmoid(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # exp of a large negative logit would overflow
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -700.0, 700.0))))


def _loss(
    point: npt.NDArray[np.float64], x: npt.NDArray[np.float64], target: npt.NDArray[np.float64],
    each: npt.NDArray[np.float64],
) -> float:  # fmt: skip
    logit = x @ point
    return float(np.sum(each * (np.logaddexp(0.0, logit) - target * logit)))
