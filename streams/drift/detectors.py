"""Detectors of drift behind a small protocol; here with Alibi Detect 0.11.4, the last release under Apache-2.0.

A detector takes columns of both samples and returns findings; their severity is decided elsewhere. Columns with too few known
values on either side are left out: missing values are not a shift of the values.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.drift.statistics import (
    category_shares,
    numeric_psi,
    pool_rare,
    population_stability_index,
    total_variation,
)
from streams.drift.comparable import KINDS, SCORE, SINCE, Columns

#: a column with fewer known values than this on either side is not tested
MIN_KNOWN = 200


@dataclass(frozen=True)
class Finding:
    """One test's result for one column (``*``: all). ``distance`` is between 0 and 1, whatever the test's statistic is."""

    detector: str
    feature: str
    statistic: float
    p_value: float
    distance: float
    psi: float | None


class Detector(Protocol):
    """Compares two samples given as columns. Implementations keep no state between calls."""

    name: str

    def test(self, reference: Columns, window: Columns) -> list[Finding]: ...


class KolmogorovSmirnov:
    """Two-sample KS test of each number; ``statistic`` and ``distance`` are the largest gap between the two CDFs."""

    name = "ks"

    def __init__(self) -> None:
        from alibi_detect.cd import KSDrift

        self._test = KSDrift

    def test(self, reference: Columns, window: Columns) -> list[Finding]:
        findings = []
        for feature, (before, now) in _known(reference, window, "number").items():
            said = self._test(before[:, None]).predict(now[:, None], return_p_val=True, return_distance=True)[
                "data"
            ]
            distance = float(said["distance"][0])
            psi = numeric_psi(before, now)
            findings.append(Finding(self.name, feature, distance, float(said["p_val"][0]), distance, psi))
        return findings


class ChiSquared:
    """Chi-squared test of each category, rare values pooled; ``distance`` is the total variation of the shares."""

    name = "chi2"

    def __init__(self) -> None:
        from alibi_detect.cd import ChiSquareDrift

        self._test = ChiSquareDrift

    def test(self, reference: Columns, window: Columns) -> list[Finding]:
        findings = []
        for feature, (before, now) in _known(reference, window, "category").items():
            before, now = pool_rare(before, now)
            codes, both = np.unique(np.concatenate([before, now]), return_inverse=True)
            if len(codes) < 2:
                findings.append(Finding(self.name, feature, 0.0, 1.0, 0.0, 0.0))
                continue
            old, new = both[: len(before), None], both[len(before) :, None]
            detector = self._test(old, categories_per_feature={0: list(range(len(codes)))})
            said = detector.predict(new, return_p_val=True, return_distance=True)["data"]
            expected, actual = category_shares(before, now)
            findings.append(
                Finding(
                    self.name, feature, float(said["distance"][0]), float(said["p_val"][0]),
                    total_variation(expected, actual), population_stability_index(expected, actual),
                )
            )  # fmt: skip
        return findings


class Classifier:
    """A classifier tries to tell the samples apart, using all columns; KS test of its out-of-fold probabilities.

    After Lopez-Paz and Oquab, *Revisiting classifier two-sample tests* (2017). Finds shifts in how columns depend on each
    other, which no single column shows.
    """

    name = "classifier"

    def __init__(self, seed: int = 0) -> None:
        from alibi_detect.cd import ClassifierDrift
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        self._test, self._seed, self._limit = ClassifierDrift, seed, threadpool_limits
        self._model: Any = HistGradientBoostingClassifier(
            max_iter=30, max_leaf_nodes=8, min_samples_leaf=40, early_stopping=False, random_state=seed
        )

    def test(self, reference: Columns, window: Columns) -> list[Finding]:
        names = self._columns(reference, window)
        if not names:
            return []
        before = np.column_stack([reference[name] for name in names])
        now = np.column_stack([window[name] for name in names])
        # one thread: the other cores are for the hot path
        with self._limit(limits=1):
            detector = self._test(
                before,
                self._model,
                backend="sklearn",
                n_folds=3,
                preds_type="probs",
                binarize_preds=False,
                seed=self._seed,
            )
            said = detector.predict(now, return_p_val=True, return_distance=True, return_probs=False)["data"]
        distance = float(said["distance"])
        return [Finding(self.name, "*", distance, float(said["p_val"]), distance, None)]

    @staticmethod
    def _columns(reference: Columns, window: Columns) -> list[str]:
        """All columns with common rows (not the scores, which come from another topic); with a young state only ``always`` ones.

        The classifier also separates the samples by missing values, and a young state has many.
        """
        mature = any(SINCE[name] == "mature" for name in reference)
        names = _known(reference, window)
        return [name for name in names if name != SCORE and (mature or SINCE[name] == "always")]


def alibi_detectors() -> list[Detector]:
    """The three detectors. Importing Alibi Detect takes seconds, so it happens once, when the process starts.

    Raises:
        ImportError: this is not the environment of the drift process.
    """
    detectors: list[Detector] = [KolmogorovSmirnov(), ChiSquared(), Classifier()]
    # it logs at each test which defaults it used
    logging.getLogger("alibi_detect").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "ks_2samp: Exact calculation", RuntimeWarning)
    return detectors


def _known(
    reference: Columns, window: Columns, kind: str | None = None
) -> dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    out = {}
    for name in reference.keys() & window.keys():
        if kind is not None and KINDS[name] != kind:
            continue
        before, now = reference[name], window[name]
        before, now = before[~np.isnan(before)], now[~np.isnan(now)]
        if min(len(before), len(now)) >= MIN_KNOWN:
            out[name] = (before, now)
    return dict(sorted(out.items()))
