"""Tests of drift behind a small protocol; here with Alibi Detect 0.11.4, the last release under Apache-2.0.

A test takes two samples of independent rows and returns a statistic and a p-value; how large a difference is, and what follows, is
decided elsewhere.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Difference:
    """The result of one test. ``statistic`` as the test defines it; ``distance`` is between 0 and 1."""

    statistic: float
    p_value: float
    distance: float


Takes = Literal["number", "category", "null", "all"]

#: of the classifier: the same windows give the same verdict
SEED = 0


class Detector(Protocol):
    """Compares two samples: of one column, shape (n,) and (m,), or, if it ``takes`` all, of all columns, (n, k) and (m, k) with NaN.

    Implementations keep no state between calls.
    """

    @property
    def name(self) -> str: ...

    @property
    def takes(self) -> Takes: ...

    def test(self, before: Samples, now: Samples) -> Difference: ...


class KolmogorovSmirnov:
    """Two-sample KS test of a number; ``statistic`` and ``distance`` are the largest gap between the two CDFs."""

    name: str = "ks"
    takes: Takes = "number"

    def __init__(self) -> None:
        from alibi_detect.cd import KSDrift

        self._test = KSDrift

    def test(self, before: Samples, now: Samples) -> Difference:
        detector = self._test(before[:, None])
        said = detector.predict(now[:, None], return_p_val=True, return_distance=True)["data"]
        distance = float(said["distance"][0])
        return Difference(distance, float(said["p_val"][0]), distance)


class ChiSquared:
    """Chi-squared test of a category given as bins; ``distance`` is the total variation of the shares."""

    def __init__(self, name: str, takes: Takes) -> None:
        from alibi_detect.cd import ChiSquareDrift

        self.name, self.takes = name, takes
        self._test = ChiSquareDrift

    def test(self, before: Samples, now: Samples) -> Difference:
        codes, both = np.unique(np.concatenate([before, now]), return_inverse=True)
        if len(codes) < 2:
            return Difference(0.0, 1.0, 0.0)
        old, new = both[: len(before), None], both[len(before) :, None]
        detector = self._test(old, categories_per_feature={0: list(range(len(codes)))})
        said = detector.predict(new, return_p_val=True, return_distance=True)["data"]
        shares = [np.bincount(side[:, 0], minlength=len(codes)) / len(side) for side in (old, new)]
        distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
        return Difference(float(said["distance"][0]), float(said["p_val"][0]), distance)


class Classifier:
    """A classifier tries to tell the samples apart, using all columns; KS test of its out-of-fold probabilities.

    After Lopez-Paz and Oquab, *Revisiting classifier two-sample tests* (2017). Finds shifts in how columns depend on each
    other, which no single column shows.
    """

    name: str = "classifier"
    takes: Takes = "all"

    def __init__(self) -> None:
        from alibi_detect.cd import ClassifierDrift
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        self._test, self._limit = ClassifierDrift, threadpool_limits
        self._model: Any = HistGradientBoostingClassifier(
            max_iter=30, max_leaf_nodes=8, min_samples_leaf=40, early_stopping=False, random_state=SEED
        )

    def test(self, before: Samples, now: Samples) -> Difference:
        # one thread: the other cores are for the hot path
        with self._limit(limits=1):
            detector = self._test(
                before,
                self._model,
                backend="sklearn",
                n_folds=3,
                preds_type="probs",
                binarize_preds=False,
                seed=SEED,
            )
            said = detector.predict(now, return_p_val=True, return_distance=True, return_probs=False)["data"]
        distance = float(said["distance"])
        return Difference(distance, float(said["p_val"]), distance)


def alibi_detectors() -> list[Detector]:
    """All tests. Importing Alibi Detect takes seconds, so it happens once, when the process starts.

    Raises:
        ImportError: this is not the environment of the drift process.
    """
    detectors: list[Detector] = [
        KolmogorovSmirnov(), ChiSquared("chi2", "category"), ChiSquared("null_rate", "null"), Classifier(),
    ]  # fmt: skip
    # it logs at each test which defaults it used
    logging.getLogger("alibi_detect").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "ks_2samp: Exact calculation", RuntimeWarning)
    return detectors
