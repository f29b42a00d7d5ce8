"""Scorer: a bundle and a matrix of features in; probabilities, decisions and reasons out. No Kafka, no HTTP, no clock."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES, WIDTH
from models.backends import Backend, FloatArray, OnnxBackend, XgboostBackend
from models.bundle import Bundle, BundleRefused

#: backends of one bundle may differ by this in probability, and by no more
TOLERANCE = 1e-5
_MEASURED_SIZES = (1, 4, 16, 64, 256, 1024)
_LARGEST = np.float32(np.finfo(np.float32).max)
ReasonRow = tuple[str, str, float]


class Scorer:
    """Scores with whichever backend is fastest for the batch at hand, by a table measured here.

    Raises:
        BundleRefused: the model does not load, has another width, or its two forms disagree.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, *, measure: bool = True) -> None:
        self.bundle = bundle
        self.version = bundle.version
        self.policy = bundle.policy
        try:
            self._xgboost = XgboostBackend(bundle.model_ubj, threads)
            self._onnx = OnnxBackend(bundle.model_onnx, threads)
        except Exception as error:  # both libraries raise types of their own for bad bytes
            raise BundleRefused("unparsable", f"{bundle.path}: the model does not load: {error}") from error
        self.backends: tuple[Backend, ...] = (self._onnx, self._xgboost)
        self._check()
        #: batch sizes and the backend to use up to each, ascending; larger ones use the last
        self.table: list[tuple[int, Backend]] = (
            self._measure() if measure else [(48, self._onnx), (1024, self._xgboost)]
        )

    def score(self, matrix: FloatArray) -> FloatArray:
        """Probability of fraud.

        Args:
            matrix: float32 (n, WIDTH) in catalogue order, NaN for unknown.

        Raises:
            ValueError: another width.
        """
        matrix = self._as_rows(matrix)
        if not len(matrix):
            return np.empty(0, np.float32)
        return self.bundle.calibration.apply(self._pick(len(matrix)).margin(matrix))

    def decide(
        self, scores: FloatArray, matrix: FloatArray | None = None
    ) -> tuple[npt.NDArray[np.int8], list[list[str]]]:
        """The policy's decisions (see ``Policy.decide``): 0 approve, 1 review, 2 decline, and the rules per row."""
        return self.policy.decide(scores, matrix)

    def explain(self, matrix: FloatArray, k: int = 3) -> list[list[ReasonRow]]:
        """Up to ``k`` reasons per row that push towards fraud, strongest first: (code, text, log-odds).

        TreeSHAP, about 2 ms a row: off the hot path, for reviewed and declined transactions.
        """
        matrix = self._as_rows(matrix)
        if not len(matrix):
            return []
        finite = np.clip(matrix, -_LARGEST, _LARGEST)
        shap = self._xgboost.contributions(finite)[:, :WIDTH] * self.bundle.calibration.slope
        top = np.argsort(-shap, axis=1, kind="stable")[:, :k]
        return [
            [_reason(int(column), float(matrix[row, column]), float(shap[row, column]))
             for column in top[row] if shap[row, column] > 0]
            for row in range(len(matrix))
        ]  # fmt: skip

    def warm(self, shapes: Sequence[int] = (1, 16, 64, 256)) -> None:
        """Run every backend once per batch size, and one explanation, so that no live row pays for first use."""
        for rows in shapes:
            sample = self._sample(rows)
            for backend in self.backends:
                backend.margin(sample)
            self.decide(self.score(sample), sample)
        self.explain(self._sample(1))

    def _pick(self, rows: int) -> Backend:
        for size, backend in self.table:
            if rows <= size:
                return backend
        return self.table[-1][1]

    def _sample(self, rows: int) -> FloatArray:
        reference = self.bundle.reference.matrix
        if not len(reference):
            return np.full((rows, WIDTH), np.nan, np.float32)
        return np.ascontiguousarray(np.resize(reference, (rows, WIDTH)))

    def _measure(self) -> list[tuple[int, Backend]]:
        table: list[tuple[int, Backend]] = []
        for size in _MEASURED_SIZES:
            sample = self._sample(size)
            table.append((size, min(self.backends, key=lambda backend, rows=sample: _seconds(backend, rows))))  # type: ignore[misc]
        return table

    def _check(self) -> None:
        if self.bundle.reference.matrix.shape[1] != WIDTH or self._xgboost.booster.num_features() != WIDTH:
            raise BundleRefused("catalogue", f"{self.bundle.path}: the model is not {WIDTH} features wide")
        rows = np.concatenate(
            [self._sample(64), np.full((1, WIDTH), np.nan, np.float32), np.zeros((1, WIDTH), np.float32)]
        )
        scores = [self.bundle.calibration.apply(backend.margin(rows)) for backend in self.backends]
        worst = float(np.max(np.abs(scores[0] - scores[1])))
        if not worst <= TOLERANCE:
            raise BundleRefused(
                "unparsable", f"{self.bundle.path}: model.onnx and model.ubj differ by {worst:.2g}"
            )

    @staticmethod
    def _as_rows(matrix: FloatArray) -> FloatArray:
        if matrix.ndim != 2 or matrix.shape[1] != WIDTH:
            raise ValueError(f"features must be (n, {WIDTH}), got {matrix.shape}")
        return np.ascontiguousarray(matrix, dtype=np.float32)


def _reason(column: int, value: float, contribution: float) -> ReasonRow:
    feature = FEATURES[column]
    if np.isfinite(value):
        text = feature.reason_text.format(value=value)
    else:
        text = f"nothing known: {feature.name.replace('_', ' ')}"
    return feature.reason_code, text, contribution


def _seconds(backend: Backend, rows: FloatArray, rounds: int = 3) -> float:
    """The best of a few runs: the least disturbed one."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        backend.margin(rows)
        best = min(best, time.perf_counter() - start)
    return best
