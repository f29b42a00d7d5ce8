"""``make bench-gpu`` with NumPy in CuPy's place: what it compares, times and prints, and what it says without a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xgboost

from loadtest.bench.harness import table
from loadtest.bench.models import gpu as bench_gpu
from models.scoring import gpu_backends
from models.scoring.backends import FloatArray, XgboostBackend
from models.scoring.gpu_backends import CudaXgboostBackend, CupyDevice, what_a_gpu_needs
from tests.support.bundle_samples import content
from tests.support.models_data import make_dataset

#: XGBoost says that it finds no GPU and computes on the CPU
pytestmark = pytest.mark.filterwarnings("ignore:.*(GPU|device|CUDA).*:UserWarning")


class DeviceArray(np.ndarray):
    """A NumPy array with CuPy's way to be filled from the host."""

    def set(self, host: FloatArray) -> None:
        np.copyto(self, host)


class FakeCupy:
    """As much of CuPy as is used, on the host; ``steps`` says in which order."""

    def __init__(self, devices: int = 1) -> None:
        self.steps: list[str] = []
        stream = SimpleNamespace(synchronize=lambda: self.steps.append("synchronize"))
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=lambda: devices,
                getDeviceProperties=lambda number: {"name": f"Host {number}".encode()},
            ),
            Device=lambda: SimpleNamespace(id=0),
            get_current_stream=lambda: stream,
        )

    def empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        self.steps.append("allocate")
        return np.empty(shape, dtype).view(DeviceArray)

    def empty_pinned(self, shape: tuple[int, int], dtype: Any) -> FloatArray:
        self.steps.append("pin")
        return np.empty(shape, dtype)

    def asnumpy(self, array: Any) -> FloatArray:
        self.steps.append("download")
        return np.asarray(array)


def install(monkeypatch: pytest.MonkeyPatch, cupy: FakeCupy | None) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cupyx", cupy)  # type: ignore[arg-type]


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    module = FakeCupy()
    install(monkeypatch, module)
    monkeypatch.setattr(gpu_backends.xgboost, "build_info", lambda: {"USE_CUDA": True})
    return module


@pytest.fixture(scope="module")
def matrix() -> FloatArray:
    return make_dataset(bench_gpu.LARGE + 300, seed=8).matrix


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, matrix: FloatArray, tmp_path: Path) -> Path:
    """A small sample, few calls, and the folder of reports."""
    booster = xgboost.Booster(model_file=bytearray(content().model_ubj))
    monkeypatch.setattr(bench_gpu, "sample_model", lambda: (booster, matrix))
    monkeypatch.setattr(bench_gpu, "LARGE_CALLS", 10)
    monkeypatch.setattr(bench_gpu, "SMALL_CALLS", 10)
    monkeypatch.setattr(table, "REPORTS", tmp_path)
    return tmp_path


class Off(XgboostBackend):
    """A backend whose margins are off by something."""

    def __init__(self, model: bytes, name: str, by: float) -> None:
        super().__init__(model)
        self.name, self._by = name, by

    def margin(self, matrix: FloatArray) -> FloatArray:
        return super().margin(matrix) + np.float32(self._by)


def test_a_batch_is_staged_uploaded_and_brought_back(cupy: FakeCupy, matrix: FloatArray) -> None:
    device = CupyDevice()
    assert device.name == "Host 0"
    backend = CudaXgboostBackend(content().model_ubj, device, "cpu")
    assert cupy.steps == ["pin", "allocate"]
    margin = backend.margin(matrix[:256])
    # the copy is over before the model reads, which computes on a stream of its own
    assert cupy.steps[2:] == ["synchronize", "download"]
    np.testing.assert_allclose(
        margin, XgboostBackend(content().model_ubj).margin(matrix[:256]), atol=1e-5, rtol=0
    )


def test_without_a_device_there_is_no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCupy(devices=0))
    monkeypatch.setattr(gpu_backends, "is_installed", lambda _: True)
    with pytest.raises(RuntimeError, match="no device"):
        CupyDevice()
    assert "a device that CuPy can use (CUDA sees no device)" in str(what_a_gpu_needs())


def test_wrong_scores_are_told_by_backend(matrix: FloatArray) -> None:
    model = content().model_ubj
    backends = [Off(model, "same", 0.0), Off(model, "off", 0.01), Off(model, "lost", np.nan)]
    wrong = bench_gpu.differing(backends, XgboostBackend(model), matrix)
    assert [text.split(":")[0] for text in wrong] == ["off", "lost"]


def test_scores_are_compared_on_unknown_and_infinite_values(matrix: FloatArray) -> None:
    seen: list[FloatArray] = []

    class Looks(XgboostBackend):
        def margin(self, matrix: FloatArray) -> FloatArray:
            seen.append(matrix)
            return super().margin(matrix)

    model, before = content().model_ubj, matrix.copy()
    assert bench_gpu.differing([Looks(model)], XgboostBackend(model), matrix) == []
    assert len(seen[0]) == bench_gpu.LARGE
    assert np.isnan(seen[0]).any() and np.isposinf(seen[0]).any() and np.isneginf(seen[0]).any()
    np.testing.assert_array_equal(matrix, before)


def test_each_backend_has_its_two_rows(matrix: FloatArray) -> None:
    sizes: list[int] = []

    class Counts(XgboostBackend):
        name = "counting"

        def margin(self, matrix: FloatArray) -> FloatArray:
            sizes.append(len(matrix))
            return super().margin(matrix)

    large, small = bench_gpu.gpu_rows([Counts(content().model_ubj)], matrix, scale=0.02)
    # ten to get warm, since no call is timed twice, then 10 and 100 calls
    assert (sizes.count(bench_gpu.LARGE), sizes.count(bench_gpu.SMALL)) == (20, 120)
    assert (large.what, large.unit, large.at_least, large.then) == (
        "counting, batches of 4096",
        "M rows/s",
        "5",
        "10",
    )
    assert (small.what, small.unit, small.at_least, small.then) == ("counting, 256 rows, p99", "ms", "2", "1")
    # the rate of each tenth, one tail
    assert (len(large.runs), len(small.runs)) == (10, 1)
    assert min(large.runs) > 0 and small.runs[0] > 0


def test_on_a_gpu_the_table_is_printed_and_kept(
    cupy: FakeCupy, quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert what_a_gpu_needs() is None
    assert bench_gpu.main() == 0
    (report,) = quick.iterdir()
    for text in (capsys.readouterr().out, report.read_text()):
        assert "| xgboost-cuda, batches of 4096 | 5 | 10 |" in text
        assert "| xgboost-cuda, 256 rows, p99 | 2 | 1 |" in text


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda model: [Off(model, "off", 0.01)], "scores are not the CPU's: off: "),
        (lambda model: [], "no backend loads"),
    ],
)
def test_wrong_scores_are_not_timed(
    cupy: FakeCupy, quick: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make: Any, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(bench_gpu, "gpu_backends", make)
    assert bench_gpu.main() == 1
    assert said in capsys.readouterr().out
    assert list(quick.iterdir()) == []


def test_without_a_gpu_everything_that_is_missing_has_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, None)
    monkeypatch.setattr(gpu_backends, "driver_is_here", lambda: False)
    monkeypatch.setattr(gpu_backends, "is_installed", lambda _: False)
    monkeypatch.setattr(gpu_backends.xgboost, "build_info", lambda: {"USE_CUDA": False})
    assert bench_gpu.main() == 0
    said = capsys.readouterr().out
    for name in (
        "NVIDIA GPU",
        "libcuda.so.1",
        "an XGBoost that is built with CUDA",
        "CuPy",
        "NCCL",
        "NVRTC",
        "gpu.txt",
    ):
        assert name in said
    # and what it would be held against
    for target in ("5 M rows/s", "10 M", "2 ms", "1 ms"):
        assert target in said


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    monkeypatch.setattr(gpu_backends, "driver_is_here", lambda: True)
    monkeypatch.setattr(gpu_backends, "is_installed", lambda module: module != "cupy")
    monkeypatch.setattr(gpu_backends.xgboost, "build_info", lambda: {"USE_CUDA": True})
    assert what_a_gpu_needs() == "missing: CuPy: `uv pip install -r infra/requirements/gpu.txt` into .venv"


def test_a_cupy_that_is_broken_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_device: CupyDevice) -> None:
        raise ImportError("libnvrtc.so.12: cannot open shared object file")

    monkeypatch.setattr(CupyDevice, "__init__", broken)
    monkeypatch.setattr(gpu_backends, "driver_is_here", lambda: True)
    monkeypatch.setattr(gpu_backends, "is_installed", lambda _: True)
    monkeypatch.setattr(gpu_backends.xgboost, "build_info", lambda: {"USE_CUDA": True})
    assert "can be imported (libnvrtc.so.12: cannot open" in str(what_a_gpu_needs())


def test_packages_are_looked_for_without_being_imported() -> None:
    assert gpu_backends.is_installed("xgboost")
    assert not gpu_backends.is_installed("no_such_package.inside")
