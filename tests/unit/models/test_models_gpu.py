"""The GPU's path against NumPy: rows go to the device once, staged, and come back as the same margins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import models.scoring.scorer
from features.catalogue import WIDTH
from models.bundle.content import load_bundle
from models.scoring.backends import FloatArray, XgboostBackend
from models.scoring.gpu_backends import (
    STAGED_ROWS,
    CudaXgboostBackend,
    CupyDevice,
    NvforestBackend,
    as_regression,
    gpu_backends,
    what_a_gpu_needs,
)
from models.scoring.scorer import Scorer
from tests.support.bundle_samples import content, publish_sample
from tests.support.models_data import make_dataset


class HostDevice:
    """A device that is the host: NumPy arrays, and a count of what was copied."""

    name = "host"

    def __init__(self) -> None:
        self.uploads: list[int] = []
        self.buffers = 0

    def staging(self, rows: int, width: int) -> FloatArray:
        self.buffers += 1
        return np.empty((rows, width), np.float32)

    def allocate(self, rows: int, width: int) -> Any:
        return np.empty((rows, width), np.float32)

    def upload(self, host: FloatArray, target: Any) -> None:
        self.uploads.append(len(host))
        np.copyto(target, host)

    def download(self, array: Any) -> FloatArray:
        return np.asarray(array)


class FakeNvforest:
    """``load_model`` and ``predict`` with nvForest's names, by XGBoost on the CPU."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def load_model(self, path: Path, **options: Any) -> Any:
        self.asked = options
        self._booster = xgboost.Booster(model_file=bytearray(path.read_bytes()))
        return self

    def predict(self, rows: FloatArray) -> FloatArray:
        prediction: FloatArray = self._booster.inplace_predict(rows)
        return prediction.reshape(-1, 1)


@pytest.fixture(scope="module")
def rows() -> FloatArray:
    matrix = make_dataset(STAGED_ROWS + 300, seed=8).matrix
    matrix[::7, ::3] = np.nan
    matrix[::11, ::5] = np.inf
    return matrix


#: XGBoost says that it finds no GPU, which is what some of these are about
pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*:UserWarning")


@pytest.mark.parametrize("made_by", ["xgboost", "nvforest"])
def test_rows_go_to_the_device_once_a_batch_and_margins_are_the_same(rows: FloatArray, made_by: str) -> None:
    model, device, library = content().model_ubj, HostDevice(), FakeNvforest()
    expected = XgboostBackend(model).margin(rows)
    backend: Any
    if made_by == "xgboost":
        backend = CudaXgboostBackend(model, device, "cpu")
    else:
        backend = NvforestBackend(model, device, library)
        assert library.asked == {"device": "gpu", "model_type": "xgboost_json", "precision": "single"}
    sizes = [1, 256, STAGED_ROWS, STAGED_ROWS + 300, 3]
    for size in sizes:
        margin = backend.margin(rows[:size])
        assert (margin.shape, margin.dtype) == ((size,), np.float32)
        np.testing.assert_allclose(margin, expected[:size], atol=1e-5, rtol=0)
    assert device.uploads == sizes
    # once at first and once for the batch that was too large
    assert device.buffers == 2


def test_as_a_regression_the_trees_predict_their_margin(rows: FloatArray) -> None:
    booster = xgboost.Booster(model_file=bytearray(content().model_ubj))
    regression = xgboost.Booster(model_file=bytearray(as_regression(booster)))
    np.testing.assert_allclose(
        regression.inplace_predict(rows), booster.inplace_predict(rows, predict_type="margin"), atol=1e-6
    )
    assert regression.num_features() == WIDTH


def test_without_a_gpu_nothing_is_offered_and_what_is_missing_is_said() -> None:
    need = what_a_gpu_needs()
    if need is None:
        assert "xgboost-cuda" in {backend.name for backend in gpu_backends(content().model_ubj)}
        return
    assert "NVIDIA GPU" in need or "CUDA" in need
    assert gpu_backends(content().model_ubj) == []


def test_batches_of_several_threads_do_not_meet_in_the_buffers(rows: FloatArray) -> None:
    model = content().model_ubj
    backend, expected = CudaXgboostBackend(model, HostDevice(), "cpu"), XgboostBackend(model).margin(rows)
    parts = [slice(start, start + 300) for start in range(0, 3000, 300)] * 4
    with ThreadPoolExecutor(4) as pool:
        for part, margin in zip(parts, pool.map(lambda part: backend.margin(rows[part]), parts), strict=True):
            np.testing.assert_allclose(margin, expected[part], atol=1e-5, rtol=0)


def test_a_gpu_that_is_lost_while_serving_leaves_the_cpu_scoring(
    rows: FloatArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost(HostDevice):
        there = True

        def upload(self, host: FloatArray, target: Any) -> None:
            if not self.there:
                raise RuntimeError("cudaErrorDevicesUnavailable")
            super().upload(host, target)

    device = Lost()
    monkeypatch.setattr(
        models.scoring.scorer, "gpu_backends", lambda model: [CudaXgboostBackend(model, device, "cpu")]
    )
    scorer = Scorer(load_bundle(*publish_sample(tmp_path)), measure=False)
    scorer.table = [(64, scorer.backends[0]), (4096, scorer.backends[-1])]
    before = scorer.score(rows[:500])
    assert device.uploads[-1] == 500
    device.there = False
    np.testing.assert_allclose(scorer.score(rows[:500]), before, atol=1e-5, rtol=0)
    assert {backend.name for _, backend in scorer.table} == {"forest"}
    assert len(scorer.score(rows[:10])) == 10


def test_a_gpu_that_fails_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(CupyDevice, "__init__", lambda _: None)
    # the device is there and breaks at first use
    assert gpu_backends(content().model_ubj) == []
    assert "does not load" in caplog.text
