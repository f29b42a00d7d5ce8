"""Drift statistics, pure: how far a window lies from a reference, and how severe that is.

With large windows significance alone raises alarms for nothing; with small ones effect size alone raises alarms for noise. A
severity here needs both. Nothing in this file uses a clock, a topic or a detector library.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Severity = Literal["none", "warning", "critical"]
Floats = npt.NDArray[np.floating]
Codes = npt.NDArray[np.int64]
Kind = Literal["number", "category"]

#: smallest share of a bin in PSI, so that the logarithm of an empty bin stays finite
_FLOOR_SHARE = 1e-3
#: categories rarer than this in the reference are pooled, with those that it lacks
_RARE_SHARE = 0.005


@dataclass(frozen=True)
class Thresholds:
    """What counts as drift. PSI bands after Siddiqi, *Credit Risk Scorecards* (2006): above 0.1 shifting, above 0.25 another population.

    ``distance``: of tests that have no PSI (the classifier on all columns), 0 to 1.
    """

    false_discovery_rate: float = 0.01
    psi_warning: float = 0.1
    psi_critical: float = 0.25
    distance_warning: float = 0.2
    distance_critical: float = 0.3


@dataclass(frozen=True)
class Bins:
    """The bins of one column, fixed by the reference: at its deciles, or its common categories and one bin for all others.

    ``edges``: inner edges of numbers, or the categories; ascending.
    """

    kind: Kind
    edges: npt.NDArray[np.float64]

    @classmethod
    def of(cls, reference: Floats, kind: Kind) -> Bins:
        """``reference``: the column, without NaN."""
        if kind == "number":
            return cls(kind, quantile_edges(reference))
        values, counts = np.unique(reference.astype(np.float64), return_counts=True)
        return cls(kind, values[counts >= _RARE_SHARE * len(reference)])

    @property
    def count(self) -> int:
        return len(self.edges) + 1

    def codes(self, values: Floats) -> Codes:
        """The bin of each value. A number equal to an edge belongs to the bin above it; a category that has none to the last."""
        if self.kind == "number":
            return np.searchsorted(self.edges, values.astype(np.float64), side="right")
        place = np.searchsorted(self.edges, values.astype(np.float64)).clip(max=max(0, len(self.edges) - 1))
        known = self.edges[place] == values if len(self.edges) else np.zeros(len(values), bool)
        return np.where(known, place, len(self.edges))

    def shares(self, codes: Codes) -> npt.NDArray[np.float64]:
        """Share of each bin."""
        shares: npt.NDArray[np.float64] = np.bincount(codes, minlength=self.count) / max(1, len(codes))
        return shares


def quantile_edges(reference: Floats, bins: int = 10) -> npt.NDArray[np.float64]:
    """Inner bin edges at the reference's quantiles, shape (at most bins - 1,), ascending, without repeats."""
    if not len(reference):
        return np.empty(0)
    edges = np.quantile(reference.astype(np.float64), np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique(edges)


def population_stability_index(expected: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> float:
    """PSI = sum((actual - expected) * ln(actual / expected)) over bins given as shares; 0 means equal."""
    floor_e, floor_a = np.maximum(expected, _FLOOR_SHARE), np.maximum(actual, _FLOOR_SHARE)
    return float(np.sum((floor_a - floor_e) * np.log(floor_a / floor_e)))


def psi_beyond_noise(bins: Bins, reference: Codes, window: Codes, window_size: int) -> float:
    """PSI less what two samples of these sizes from one population would show on average, at least 0.

    That is (bins - 1) (1/n + 1/m) for independent rows (Yurdakul, *Statistical Properties of Population Stability Index*, 2018).

    Args:
        reference, window: bin of each row.
        window_size: how many independent rows the window is worth.
    """
    expected, actual = bins.shares(reference), bins.shares(window)
    used = int(np.count_nonzero((expected > 0) | (actual > 0)))
    noise = (used - 1) * (1 / max(1, len(reference)) + 1 / max(1, window_size))
    return max(0.0, population_stability_index(expected, actual) - noise)


def significant(p_values: Iterable[float], false_discovery_rate: float) -> npt.NDArray[np.bool_]:
    """Which hypotheses are rejected at a false discovery rate (Benjamini and Hochberg, 1995)."""
    p = np.asarray(list(p_values), dtype=np.float64)
    if not len(p):
        return np.zeros(0, dtype=bool)
    order = np.argsort(p, kind="stable")
    below = p[order] <= false_discovery_rate * np.arange(1, len(p) + 1) / len(p)
    rejected = np.zeros(len(p), dtype=bool)
    if below.any():
        rejected[order[: int(np.flatnonzero(below)[-1]) + 1]] = True
    return rejected


def severity(is_significant: bool, distance: float, psi: float | None, limits: Thresholds) -> Severity:
    """The severity of one finding: it must be significant, and large by PSI or, where there is none, by distance; else "none"."""
    if not is_significant:
        return "none"
    effect, warning, critical = (
        (distance, limits.distance_warning, limits.distance_critical)
        if psi is None
        else (psi, limits.psi_warning, limits.psi_critical)
    )
    return "critical" if effect > critical else "warning" if effect > warning else "none"
