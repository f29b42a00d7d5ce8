"""Drift statistics, pure: how far a window lies from a reference, how severe that is, and when to request a new model.

With large windows significance alone raises alarms for nothing; with small ones effect size alone raises alarms for noise. A
severity here needs both. Nothing in this file uses a clock, a topic or a detector library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Severity = Literal["none", "warning", "critical"]
Floats = npt.NDArray[np.floating]

#: smallest share of a bin in PSI, so that the logarithm of an empty bin stays finite
_FLOOR_SHARE = 1e-3
#: categories rarer than this in both samples are pooled, because single ones are noise
_RARE_SHARE = 0.005


@dataclass(frozen=True)
class Thresholds:
    """What counts as drift. ``distance`` is the KS statistic (numbers) or the total variation (categories), 0 to 1.

    PSI bands after Siddiqi, *Credit Risk Scorecards* (2006): below 0.1 stable, 0.1 to 0.25 shifting. Critical starts at 0.2,
    because a second window has to confirm it.
    """

    false_discovery_rate: float = 0.01
    psi_warning: float = 0.1
    psi_critical: float = 0.2
    distance_warning: float = 0.1
    distance_critical: float = 0.15


@dataclass(frozen=True)
class WindowPolicy:
    """How many rows a test uses and when it runs: after ``step_rows`` new rows, or after ``step_s`` if there are enough rows.

    Two tests are at least ``pause_s`` apart. At most ``rows_per_s`` rows are sampled: drift does not need all traffic, and must
    never slow a decision down.
    """

    rows: int = 2000
    min_rows: int = 500
    step_rows: int = 1000
    step_s: float = 30.0
    pause_s: float = 5.0
    rows_per_s: int = 400


@dataclass(frozen=True)
class RetrainingPolicy:
    """A request is made when ``confirm_rounds`` tests in a row found the same thing critical, once per cooldown."""

    confirm_rounds: int = 2
    cooldown_s: float = 3600.0
    #: length of the requested history, which ends with the window that drifted
    training_span_s: float = 60 * 86400.0
    remembered_keys: int = 200


@dataclass(frozen=True)
class RetrainingState:
    """Consecutive critical tests per finding, and the requests made (dedupe key to seconds since 1970)."""

    streaks: Mapping[str, int] = field(default_factory=dict)
    asked: Mapping[str, float] = field(default_factory=dict)


def quantile_edges(reference: Floats, bins: int = 10) -> npt.NDArray[np.float64]:
    """Inner bin edges at the reference's quantiles, shape (at most bins - 1,), ascending, without repeats."""
    edges = np.quantile(reference.astype(np.float64), np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique(edges)


def bin_shares(values: Floats, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of values in each of len(edges) + 1 bins; a value equal to an edge belongs to the bin above it."""
    counts = np.bincount(
        np.searchsorted(edges, values.astype(np.float64), side="right"), minlength=len(edges) + 1
    )
    shares: npt.NDArray[np.float64] = counts / max(1, len(values))
    return shares


def pool_rare(
    reference: npt.NDArray[np.float32], window: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The same values, with categories rare in both samples replaced by -1, so that expected counts are not tiny."""
    codes = np.union1d(reference, window)
    rare = codes[np.maximum(*category_shares(reference, window)) < _RARE_SHARE]
    pooled = [np.where(np.isin(side, rare), np.float32(-1), side) for side in (reference, window)]
    return pooled[0], pooled[1]


def category_shares(
    reference: Floats, window: Floats
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Share of each category found in either sample, in the order of the categories; both samples must have values."""
    codes = np.union1d(reference, window)
    counts = [np.bincount(np.searchsorted(codes, side), minlength=len(codes)) for side in (reference, window)]
    return counts[0] / len(reference), counts[1] / len(window)


def population_stability_index(expected: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> float:
    """PSI = sum((actual - expected) * ln(actual / expected)) over bins given as shares; 0 means equal."""
    floor_e, floor_a = np.maximum(expected, _FLOOR_SHARE), np.maximum(actual, _FLOOR_SHARE)
    return float(np.sum((floor_a - floor_e) * np.log(floor_a / floor_e)))


def total_variation(expected: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> float:
    """Half the sum of absolute differences of two distributions given as shares: 0 equal, 1 disjoint."""
    return float(np.abs(expected - actual).sum() / 2)


def numeric_psi(reference: Floats, window: Floats) -> float:
    """PSI over bins at the reference's deciles."""
    edges = quantile_edges(reference)
    return population_stability_index(bin_shares(reference, edges), bin_shares(window, edges))


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
    """The severity of one finding: it must be significant, and large by distance or PSI; else "none"."""
    if not is_significant:
        return "none"
    effect = psi or 0.0
    if distance >= limits.distance_critical or effect >= limits.psi_critical:
        return "critical"
    if distance >= limits.distance_warning or effect >= limits.psi_warning:
        return "warning"
    return "none"


def same_hours(
    reference_hours: Floats, window_hours: Floats, wanted: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Row numbers of the reference, ``wanted`` if possible, drawn with the window's mix of hours of the day.

    A window covers minutes and a reference weeks, so the usual shopping at four in the morning would look like drift. The hours
    are widened by up to three on either side until the reference has enough rows; if that gives less than a quarter of
    ``wanted``, all rows of the reference are returned.
    """
    everything = np.arange(len(reference_hours))
    known = window_hours[~np.isnan(window_hours)].astype(np.int64) % 24
    hours = np.where(np.isnan(reference_hours), 24, reference_hours).astype(np.int64)
    if not len(known) or (hours == 24).all():
        return everything
    share = np.bincount(known, minlength=24) / len(known)
    have = np.bincount(hours, minlength=25)
    for reach in range(4):
        wide = np.mean([np.roll(share, shift) for shift in range(-reach, reach + 1)], axis=0)
        weight = (np.append(wide, 0.0) / np.maximum(1, have))[hours]
        usable = int((weight > 0).sum())
        if usable >= wanted or (reach == 3 and usable >= wanted / 4):
            size = min(wanted, usable)
            return rng.choice(everything, size=size, replace=False, p=weight / weight.sum())
    return everything


def request_key(model: str, model_version: str, findings: Iterable[str]) -> str:
    """One key per model version and set of findings, so that the same drift makes one request."""
    digest = hashlib.sha256("\n".join(sorted(set(findings))).encode()).hexdigest()[:12]
    return f"drift:{model}:{model_version}:{digest}"


def after_round(state: RetrainingState, critical: Iterable[str]) -> RetrainingState:
    """Count one more consecutive test for each critical finding, and drop findings that did not recur."""
    return replace(state, streaks={name: state.streaks.get(name, 0) + 1 for name in sorted(set(critical))})


def due_request(
    state: RetrainingState, policy: RetrainingPolicy, model: str, model_version: str, now_s: float
) -> tuple[str, list[str]] | None:
    """(dedupe key, confirmed findings) when a request is due at ``now_s``, else None."""
    confirmed = [name for name, count in state.streaks.items() if count >= policy.confirm_rounds]
    if not confirmed:
        return None
    recent = [at for key, at in state.asked.items() if key.startswith(f"drift:{model}:")]
    if recent and now_s - max(recent) < policy.cooldown_s:
        return None
    # the same may be asked again: the trainer answers a key that led to a model once, and one that failed anew
    return request_key(model, model_version, confirmed), confirmed


def remember_request(
    state: RetrainingState, policy: RetrainingPolicy, key: str, now_s: float
) -> RetrainingState:
    """The state after a request was acknowledged; only the newest ``remembered_keys`` keys are kept."""
    asked = sorted({**state.asked, key: now_s}.items(), key=lambda item: item[1])
    return replace(state, asked=dict(asked[-policy.remembered_keys :]))


def round_due(policy: WindowPolicy, rows: int, new_rows: int, since_last_s: float) -> bool:
    """Whether to test a window of ``rows`` rows, ``new_rows`` of them new, ``since_last_s`` after the last test."""
    if rows < policy.min_rows or new_rows == 0 or since_last_s < policy.pause_s:
        return False
    return new_rows >= policy.step_rows or since_last_s >= policy.step_s


class Window:
    """The newest rows in a ring buffer: vectors and event times (ms since 1970), and in a second ring the newest scores."""

    def __init__(self, rows: int, width: int) -> None:
        self._matrix = np.full((rows, width), np.nan, dtype=np.float32)
        self._event_ms = np.zeros(rows, dtype=np.int64)
        self._scores = np.full(rows, np.nan, dtype=np.float32)
        self._seen = 0
        self._scores_seen = 0
        self.new_rows = 0

    def __len__(self) -> int:
        return min(self._seen, len(self._event_ms))

    def add(self, matrix: npt.NDArray[np.float32], event_ms: npt.NDArray[np.int64]) -> None:
        """Add rows, oldest first; if there are more than the ring holds, the newest stay."""
        take = min(len(event_ms), len(self._event_ms))
        at = (self._seen + np.arange(take)) % len(self._event_ms)
        self._matrix[at] = matrix[len(matrix) - take :]
        self._event_ms[at] = event_ms[len(event_ms) - take :]
        self._seen += take
        self.new_rows += take

    def add_scores(self, scores: npt.NDArray[np.float32]) -> None:
        take = min(len(scores), len(self._scores))
        at = (self._scores_seen + np.arange(take)) % len(self._scores)
        self._scores[at] = scores[len(scores) - take :]
        self._scores_seen += take

    def snapshot(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Copies of (matrix, event_ms, scores); resets the count of new rows."""
        self.new_rows = 0
        scores = self._scores[: min(self._scores_seen, len(self._scores))].copy()
        return self._matrix[: len(self)].copy(), self._event_ms[: len(self)].copy(), scores

    def forget_scores(self) -> None:
        """Drop the scores when the model changes: those of two models are not comparable. The rows stay."""
        self._scores_seen = 0
