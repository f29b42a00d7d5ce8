"""CPU backends, which compute margins behind one protocol: the compiled forest, ONNX Runtime, XGBoost."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import xgboost

from models.scoring.forest import read_forest
from models.scoring.forest_kernel import forest_margins
from models.scoring.onnx_export import INPUT, OUTPUT
from models.scoring.tree_shap import forest_contributions, shares_of

FloatArray = npt.NDArray[np.float32]
#: rows per call: 3.7 us a row in calls of 64, 4.4 in calls of 16, 3.6 to 4.5 in one of 1,024 (loadtest/bench/models/scorer.py)
ONNX_SLICE = 64


class Backend(Protocol):
    """Computes margins (log-odds, float32 (n,)) of rows (float32 (n, width), C order, NaN for missing).

    Infinite values are compared with splits like any other value.
    """

    name: str

    def margin(self, matrix: FloatArray) -> FloatArray: ...


class ForestBackend:
    """The trees as arrays, walked by a compiled kernel: about 1 us a row at any batch size. It also explains rows.

    Raises:
        ForestError: the booster has no compiled form.
    """

    name = "forest"

    def __init__(self, booster: xgboost.Booster) -> None:
        self._forest, leaves = read_forest(booster)
        self._shares = shares_of(self._forest, leaves)
        # compile both variants now: to Numba, read-only arrays (rows read from records) are another type
        for writeable in (True, False):
            rows = np.zeros((1, self._forest.width), np.float32)
            rows.flags.writeable = writeable
            self.margin(rows)
            self.contributions(rows)

    def margin(self, matrix: FloatArray) -> FloatArray:
        return forest_margins(self._forest, matrix)

    def contributions(self, matrix: FloatArray) -> FloatArray:
        """TreeSHAP (n, width) in log-odds, the same values as XGBoost's: about 5 us a row in batches of 30."""
        return forest_contributions(self._forest, self._shares, matrix)


class OnnxBackend:
    """ONNX Runtime on one thread, called with slices of the batch."""

    name = "onnxruntime"

    def __init__(self, model: bytes, threads: int = 1, rows_a_call: int = ONNX_SLICE) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._rows_a_call = rows_a_call

    def margin(self, matrix: FloatArray) -> FloatArray:
        run, step = self._session.run, self._rows_a_call
        if len(matrix) <= step:
            first: FloatArray = run([OUTPUT], {INPUT: matrix})[0]
            return first[:, 0]
        out = np.empty(len(matrix), np.float32)
        for start in range(0, len(matrix), step):
            part = run([OUTPUT], {INPUT: matrix[start : start + step]})[0]
            out[start : start + step] = part[:, 0]
        return out


class XgboostBackend:
    """XGBoost's ``inplace_predict``: 100 to 400 us per call, plus 3.5 us a row and thread."""

    name = "xgboost"

    def __init__(self, model: bytes, threads: int = 1) -> None:
        self.booster = xgboost.Booster({"nthread": threads}, model_file=bytearray(model))
        self.booster.set_param({"nthread": threads})

    def margin(self, matrix: FloatArray) -> FloatArray:
        margin: FloatArray = self.booster.inplace_predict(
            matrix, predict_type="margin", validate_features=False
        )
        return margin.reshape(-1)

    def contributions(self, matrix: FloatArray) -> FloatArray:
        """TreeSHAP (n, width) in log-odds: 0.9 ms a row, 2 to 8 ms for a single row. Infinite values are clipped."""
        largest = np.finfo(np.float32).max
        rows = xgboost.DMatrix(np.clip(matrix, -largest, largest), missing=np.nan)
        out: FloatArray = self.booster.predict(rows, pred_contribs=True)
        # the last column is the bias
        return out[:, :-1]
