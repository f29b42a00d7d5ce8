"""Scorer: a bundle and a matrix of features in; probabilities, decisions and reasons out. No Kafka, no HTTP, no clock."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES, WIDTH
from features.definitions import OWN, aligned_columns
from models.bundle.content import Bundle, BundleRefused, check_fits
from models.scoring.backend_table import table_for
from models.scoring.backends import Backend, FloatArray, ForestBackend, OnnxBackend, XgboostBackend
from models.scoring.forest import ForestError
from models.scoring.gpu_backends import gpu_backends
from models.scoring.tree_shap import strongest

logger = logging.getLogger(__name__)
#: backends of one bundle may differ by this in probability, and by no more
TOLERANCE = 1e-5
#: rows that are explained together when warming
EXPLAINED = 8
ReasonRow = tuple[str, str, float]


class Scorer:
    """Scores with whichever backend is fastest for the batch at hand, by a table measured on this machine.

    Raises:
        BundleRefused: the model does not load, reads features that this code has not, or two of its forms disagree.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 1,
        *,
        measure: bool = True,
        tables: Path | None = None,
        like: Scorer | None = None,
    ) -> None:
        """``tables``: folder where measured tables are kept; ``measure`` off: the usual order, unmeasured.

        ``like``: one that is at work, whose table is taken over where both have the same backends: measuring beside it would
        slow it down, and measure it too.
        """
        self.bundle = bundle
        self.version = bundle.version
        self.policy = bundle.policy
        #: the model's columns as places in this code's vectors, int64 (width of the model,)
        self.columns = bundle.layout.places_in(OWN)
        # of the same catalogue: vectors go to the model as they are
        self._as_it_is = np.array_equal(self.columns, np.arange(WIDTH))
        try:
            self._xgboost = XgboostBackend(bundle.model_ubj, threads)
            onnx = OnnxBackend(bundle.model_onnx, threads)
        except Exception as error:  # both libraries raise types of their own for bad bytes
            raise BundleRefused("unparsable", f"{bundle.path}: the model does not load: {error}") from error
        self._check_columns()
        self._forest = _forest_or_none(self._xgboost, bundle)
        first: tuple[Backend, ...] = (self._forest,) if self._forest is not None else ()
        self._on_gpu = gpu_backends(bundle.model_ubj)
        self.backends: tuple[Backend, ...] = (*first, onnx, self._xgboost, *self._on_gpu)
        self._check()
        #: what explaining takes, as measured when it was warmed, ms: for any rows, and for each; None before
        self.explanation_ms: tuple[float, float] | None = None
        #: batch sizes and the backend to use up to each, ascending; larger ones use the last
        self.table: list[tuple[int, Backend]]
        #: the table as it was made; the one in use goes without a device that failed
        self.chosen: list[tuple[int, Backend]]
        if like is not None and like.backend_names == self.backend_names:
            by_name = {backend.name: backend for backend in self.backends}
            self.table = [(rows, by_name[used.name]) for rows, used in like.chosen]
        elif measure:
            self.table = self._measured(tables)
        else:
            self.table = [(48, self.backends[0]), (1024, (*first, self._xgboost)[0])]
        self.chosen = list(self.table)

    @property
    def backend_names(self) -> list[str]:
        """What this model can be scored with on this machine."""
        return [backend.name for backend in self.backends]

    def score(self, matrix: FloatArray) -> FloatArray:
        """Probability of fraud.

        Args:
            matrix: float32 (n, WIDTH) in this code's catalogue order, NaN for unknown.

        Raises:
            ValueError: another width.
        """
        matrix = self._as_rows(matrix)
        if not len(matrix):
            return np.empty(0, np.float32)
        if not self._as_it_is:
            matrix = aligned_columns(matrix, self.columns)
        backend = self._pick(len(matrix))
        try:
            margin = backend.margin(matrix)
        except Exception:
            if backend not in self._on_gpu:
                raise
            # a device that is lost stays lost: from here on the CPU, which needs nothing but itself
            logger.exception("%s failed; the CPU scores from here on", backend.name)
            cpu = self.backends[0]
            self.table = [(rows, cpu if used in self._on_gpu else used) for rows, used in self.table]
            margin = cpu.margin(matrix)
        return self.bundle.calibration.apply(margin)

    def decide(
        self, scores: FloatArray, matrix: FloatArray | None = None
    ) -> tuple[npt.NDArray[np.int8], list[list[str]]]:
        """The policy's decisions (see ``Policy.decide``): 0 approve, 1 review, 2 decline, and the rules per row."""
        return self.policy.decide(scores, matrix)

    def explain(self, matrix: FloatArray, k: int = 3) -> list[list[ReasonRow]]:
        """Up to ``k`` reasons per row that push towards fraud, strongest first: (code, text, log-odds).

        TreeSHAP, for reviewed and declined transactions: 10 us a row compiled, else 2 ms by XGBoost itself.
        """
        matrix = self._as_rows(matrix)
        if not len(matrix):
            return []
        if not self._as_it_is:
            matrix = aligned_columns(matrix, self.columns)
        explainer = self._forest or self._xgboost
        shap = explainer.contributions(matrix) * np.float32(self.bundle.calibration.slope)
        return [
            [_reason(int(self.columns[column]), float(matrix[row, column]), float(shap[row, column]))
             for column in columns if column >= 0]
            for row, columns in enumerate(strongest(shap, k).tolist())
        ]  # fmt: skip

    def warm(self, shapes: Sequence[int] = (1, 16, 64, 256, 1024)) -> None:
        """Run every backend once per batch size, and explain, so that no live row pays for first use and its price is known."""
        for rows in shapes:
            sample = self._sample(rows)
            for backend in self.backends:
                backend.margin(sample)
            whole = self._whole(sample)
            self.decide(self.score(whole), whole)
        self.explanation_ms = self._explanation_ms()

    def _explanation_ms(self) -> tuple[float, float]:
        """Milliseconds for any rows, and for each: from one row and from ``EXPLAINED``, each at its quickest."""
        took_ms = []
        for rows in (1, EXPLAINED):
            sample = self._whole(self._sample(rows))
            # the first one compiles, and one may be interrupted
            times = []
            for _ in range(4):
                started = perf_counter()
                self.explain(sample)
                times.append((perf_counter() - started) * 1000)
            took_ms.append(min(times))
        row_ms = max(0.0, took_ms[1] - took_ms[0]) / (EXPLAINED - 1)
        return max(0.0, took_ms[0] - row_ms), row_ms

    def _pick(self, rows: int) -> Backend:
        for size, backend in self.table:
            if rows <= size:
                return backend
        return self.table[-1][1]

    def _sample(self, rows: int) -> FloatArray:
        """Rows of the reference, in the model's columns."""
        reference, width = self.bundle.reference.matrix, len(self.columns)
        if not len(reference):
            return np.full((rows, width), np.nan, np.float32)
        return np.ascontiguousarray(np.resize(reference, (rows, width)))

    def _whole(self, sample: FloatArray) -> FloatArray:
        """The same rows in this code's columns."""
        if self._as_it_is:
            return sample
        out = np.full((len(sample), WIDTH), np.nan, np.float32)
        out[:, self.columns] = sample
        return out

    def _measured(self, folder: Path | None) -> list[tuple[int, Backend]]:
        digest = hashlib.sha256(self.bundle.model_ubj).hexdigest()
        table = table_for(self.backends, self._sample, model=digest, folder=folder)
        by_name = {backend.name: backend for backend in self.backends}
        return [(entry.rows, by_name[entry.backend]) for entry in table.entries]

    def _check_columns(self) -> None:
        check_fits(self.bundle.path, self.bundle.layout, OWN)
        width = len(self.columns)
        if (self.columns < 0).any() or self.bundle.reference.matrix.shape[1] != width:
            raise BundleRefused("catalogue", f"{self.bundle.path}: its manifest's features are not its own")
        if self._xgboost.booster.num_features() != width:
            raise BundleRefused("catalogue", f"{self.bundle.path}: the model is not {width} features wide")

    def _check(self) -> None:
        width = len(self.columns)
        rows = np.concatenate(
            [self._sample(64), np.full((1, width), np.nan, np.float32), np.zeros((1, width), np.float32)]
        )
        expected = self.bundle.calibration.apply(self._xgboost.margin(rows))
        for backend in self.backends:
            worst = float(np.max(np.abs(self.bundle.calibration.apply(backend.margin(rows)) - expected)))
            if not worst <= TOLERANCE:
                raise BundleRefused(
                    "unparsable", f"{self.bundle.path}: {backend.name} and model.ubj differ by {worst:.2g}"
                )

    @staticmethod
    def _as_rows(matrix: FloatArray) -> FloatArray:
        if matrix.ndim != 2 or matrix.shape[1] != WIDTH:
            raise ValueError(f"features must be (n, {WIDTH}), got {matrix.shape}")
        return np.ascontiguousarray(matrix, dtype=np.float32)


def _reason(column: int, value: float, contribution: float) -> ReasonRow:
    feature = FEATURES[column]
    known = np.isfinite(value)
    text = feature.reason_text.format(value=value) if known else f"{feature.name} is not known"
    return feature.reason_code, text, contribution


def _forest_or_none(model: XgboostBackend, bundle: Bundle) -> ForestBackend | None:
    try:
        return ForestBackend(model.booster)
    except ForestError as error:
        logger.info("%s: no compiled form: %s", bundle.path, error)
        return None
