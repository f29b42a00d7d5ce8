"""Scorer: a bundle and a matrix of features in; probabilities, decisions and reasons out. No Kafka, HTTP or clock."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES, WIDTH
from features.vector_layouts import OWN, aligned_columns
from models.bundle.attribute_columns import AttributeWords, Columns
from models.bundle.content import Bundle, BundleRefused, check_fits
from models.scoring.backend_table import table_for
from models.scoring.backends import Backend, FloatArray, ForestBackend, OnnxBackend, XgboostBackend
from models.scoring.forest import ForestError
from models.scoring.gpu_backends import gpu_backends
from models.scoring.tree_shap import strongest
from models.scoring.words import ReasonRow, Words, words_of

logger = logging.getLogger(__name__)
#: largest difference in probability allowed between backends of one bundle
TOLERANCE = 1e-5
#: rows explained together when warming up
EXPLAINED = 8
#: rows scored together to measure what a row costs
SCORED = 64
_NOUNS = {"transaction": "payment itself", "ip": "address"}


class Scorer:
    """Scores each batch with the backend that is fastest for its size, by a table measured on this machine.

    Raises:
        BundleRefused: the model does not load, reads features that this code lacks, or two of its formats disagree.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        measure: bool = True,
        tables: Path | None = None,
        like: Scorer | None = None,
    ) -> None:
        """``tables``: folder of measured tables; ``measure`` False: use a fixed table instead of measuring.

        ``like``: a live scorer whose table is taken over if it has the same backends: measuring would slow it down, and its
        work would distort the measurement.
        """
        self.bundle = bundle
        self.version = bundle.version
        self.policy = bundle.policy
        #: attributes of one's own that the model takes
        self.attributes = bundle.attributes
        #: width of the rows that it scores: the catalogue's columns, then its attributes
        self.width = WIDTH + len(self.attributes)
        #: place of each of the model's columns in such a row, int64 (width of the model,)
        self.places = bundle.layout.places_in(self.attributes.behind(OWN))
        #: the catalogue's columns that it reads
        self.columns = self.places[self.places < WIDTH]
        self._words = [self._words_of(place) for place in self.places.tolist()]
        # same catalogue: rows are passed to the model unchanged
        self._as_it_is = np.array_equal(self.places, np.arange(self.width))
        try:
            self._xgboost = XgboostBackend(bundle.model_ubj)
            onnx = OnnxBackend(bundle.model_onnx)
        except Exception as error:  # both libraries have their own error types for bad bytes
            raise BundleRefused("unparsable", f"{bundle.path}: the model does not load: {error}") from error
        self._check_columns()
        self._forest = _forest_or_none(self._xgboost, bundle)
        first: tuple[Backend, ...] = (self._forest,) if self._forest is not None else ()
        self._on_gpu = gpu_backends(bundle.model_ubj)
        self.backends: tuple[Backend, ...] = (*first, onnx, self._xgboost, *self._on_gpu)
        self._check()
        #: cost of explaining in ms, (per call, per row), measured by ``warm``; None before
        self.explanation_ms: tuple[float, float] | None = None
        #: the same of scoring and deciding
        self.score_ms: tuple[float, float] | None = None
        #: (largest batch size, backend), ascending; larger batches use the last one
        self.table: list[tuple[int, Backend]]
        #: the table as made; ``table`` changes when a GPU fails
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
        """The backends of this model on this machine."""
        return [backend.name for backend in self.backends]

    def with_attributes(self, matrix: FloatArray, given: Columns | None) -> FloatArray:
        """Rows of features (n, WIDTH) with the attributes that the model takes behind them, (n, ``width``); ``given`` None: not known.
        What another model took stands behind WIDTH and is left out."""
        features = matrix if matrix.shape[1] == WIDTH else matrix[:, :WIDTH]
        if not self.attributes:
            return features
        return np.concatenate([features, self.attributes.block(len(features), given)], axis=1)

    def score(self, matrix: FloatArray) -> FloatArray:
        """Probabilities of fraud, float32 (n,).

        Args:
            matrix: float32 (n, ``width``): this code's catalogue order, then the model's attributes (``with_attributes``); NaN for
                unknown. Rows of (n, WIDTH) have no attributes.

        Raises:
            ValueError: the matrix has another width.
        """
        matrix = self._as_rows(matrix)
        if not len(matrix):
            return np.empty(0, np.float32)
        if not self._as_it_is:
            matrix = aligned_columns(matrix, self.places)
        backend = self._pick(len(matrix))
        try:
            margin = backend.margin(matrix)
        except Exception:
            if backend not in self._on_gpu:
                raise
            # a lost device does not come back: use the CPU from now on
            logger.exception("%s failed; scoring on the CPU from now on", backend.name)
            cpu = self.backends[0]
            self.table = [(rows, cpu if used in self._on_gpu else used) for rows, used in self.table]
            margin = cpu.margin(matrix)
        return self.bundle.calibration.apply(margin)

    def decide(
        self, scores: FloatArray, matrix: FloatArray | None = None
    ) -> tuple[npt.NDArray[np.int8], list[list[str]]]:
        """The policy's decisions (see ``Policy.decide``): 0 approve, 1 review, 2 decline, and the matched rules of each row."""
        return self.policy.decide(scores, matrix)

    def explain(
        self, matrix: FloatArray, k: int = 3, currencies: Sequence[str] | None = None
    ) -> list[list[ReasonRow]]:
        """Up to ``k`` known values per row that push towards fraud, strongest first: (code, text, log-odds).

        ``currencies``: of each row's payment, for what the texts say of money; without them they say minor units.

        A row that only unknown values push gets one reason: of which entity too little is known.

        TreeSHAP, for reviewed and declined transactions: 11 us a row compiled, 2 ms with XGBoost.
        """
        matrix = self._as_rows(matrix)
        if not len(matrix):
            return []
        if not self._as_it_is:
            matrix = aligned_columns(matrix, self.places)
        shap = self._contributions(matrix)
        columns = strongest(np.where(np.isnan(matrix), np.float32(0), shap), k)
        # read for all rows at once: one element of an array costs Python as much as a whole list of them
        there = np.arange(len(matrix))[:, None], columns
        values, contributions = matrix[there].tolist(), shap[there].tolist()
        words, named = self._words, [None] * len(matrix) if currencies is None else currencies
        return [
            [words[column](value, push, currency) for column, value, push in zip(row, known, pushes, strict=True) if column >= 0]
            or self._little_known(shap[i])
            for i, (row, known, pushes, currency) in enumerate(zip(columns.tolist(), values, contributions, named, strict=True))
        ]  # fmt: skip

    def contributions(self, matrix: FloatArray) -> FloatArray:
        """What each of the model's columns (``bundle.feature_names``) adds to a row's score, in log-odds: float32 (n, width of the model)."""
        return self._contributions(aligned_columns(self._as_rows(matrix), self.places))

    def _contributions(self, matrix: FloatArray) -> FloatArray:
        explainer = self._forest or self._xgboost
        return explainer.contributions(matrix) * np.float32(self.bundle.calibration.slope)

    def _little_known(self, shap: FloatArray) -> list[ReasonRow]:
        """The entity whose unknown values push a row most; ``shap`` (width of the model,), of a row that no known value pushes."""
        pushed: dict[str, float] = {}
        for column in np.flatnonzero(shap > 0).tolist():
            place = self.places[column]
            entity = FEATURES[place].entity if place < WIDTH else "transaction"
            pushed[entity] = pushed.get(entity, 0.0) + float(shap[column])
        if not pushed:
            return []
        entity = max(pushed, key=lambda entity: pushed[entity])
        return [
            (
                f"{entity.upper()}_UNKNOWN",
                f"little is known about the {_NOUNS.get(entity, entity)}",
                pushed[entity],
            )
        ]

    def warm(self, shapes: Sequence[int] = (1, 16, 64, 256, 1024)) -> None:
        """Run all backends at each batch size and explain, so that no live row pays for first use.

        Sets ``explanation_ms`` and ``score_ms``.
        """
        for rows in shapes:
            sample = self._sample(rows)
            for backend in self.backends:
                backend.margin(sample)
            whole = self._whole(sample)
            self.decide(self.score(whole), whole)
        self.explanation_ms = self._cost_ms(self.explain, EXPLAINED)
        self.score_ms = self._cost_ms(lambda whole: self.decide(self.score(whole), whole), SCORED)

    def _cost_ms(self, work: Callable[[FloatArray], object], many: int) -> tuple[float, float]:
        """(ms per call, ms per row), from the fastest runs with one row and with ``many`` rows."""
        took_ms = []
        for rows in (1, many):
            sample = self._whole(self._sample(rows))
            # several runs: the first compiles, others may be interrupted
            times = []
            for _ in range(4):
                started = perf_counter()
                work(sample)
                times.append((perf_counter() - started) * 1000)
            took_ms.append(min(times))
        row_ms = max(0.0, took_ms[1] - took_ms[0]) / (many - 1)
        return max(0.0, took_ms[0] - row_ms), row_ms

    def _pick(self, rows: int) -> Backend:
        for size, backend in self.table:
            if rows <= size:
                return backend
        return self.table[-1][1]

    def _sample(self, rows: int) -> FloatArray:
        """Rows of the reference, in the model's columns."""
        reference, width = self.bundle.reference.matrix, len(self.places)
        if not len(reference):
            return np.full((rows, width), np.nan, np.float32)
        return np.ascontiguousarray(np.resize(reference, (rows, width)))

    def _whole(self, sample: FloatArray) -> FloatArray:
        """The same rows in this code's columns."""
        if self._as_it_is:
            return sample
        out = np.full((len(sample), self.width), np.nan, np.float32)
        out[:, self.places] = sample
        return out

    def _measured(self, folder: Path | None) -> list[tuple[int, Backend]]:
        digest = hashlib.sha256(self.bundle.model_ubj).hexdigest()
        table = table_for(self.backends, self._sample, model=digest, folder=folder)
        by_name = {backend.name: backend for backend in self.backends}
        return [(entry.rows, by_name[entry.backend]) for entry in table.entries]

    def _check_columns(self) -> None:
        check_fits(self.bundle.path, self.bundle.layout, OWN)
        width = len(self.places)
        if (self.places < 0).any() or self.bundle.reference.matrix.shape[1] != width:
            raise BundleRefused("catalogue", f"{self.bundle.path}: its features do not match its manifest")
        if self._xgboost.booster.num_features() != width:
            raise BundleRefused("catalogue", f"{self.bundle.path}: the model does not take {width} features")

    def _check(self) -> None:
        width = len(self.places)
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

    def _words_of(self, place: int) -> Words:
        if place < WIDTH:
            return words_of(FEATURES[place])
        return AttributeWords(self.attributes.columns[place - WIDTH])

    def _as_rows(self, matrix: FloatArray) -> FloatArray:
        if matrix.ndim != 2 or matrix.shape[1] not in (self.width, WIDTH):
            raise ValueError(f"features must be (n, {self.width}), got {matrix.shape}")
        if matrix.shape[1] < self.width:
            unknown = np.full((len(matrix), self.width - WIDTH), np.nan, np.float32)
            matrix = np.concatenate([matrix, unknown], axis=1)
        return np.ascontiguousarray(matrix, dtype=np.float32)


def _forest_or_none(model: XgboostBackend, bundle: Bundle) -> ForestBackend | None:
    try:
        return ForestBackend(model.booster)
    except ForestError as error:
        logger.info("%s: no compiled form: %s", bundle.path, error)
        return None
