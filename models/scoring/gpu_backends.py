"""Ways to compute margins on a GPU, where one is: XGBoost on CuPy arrays, nvForest. Rows go to the device once a batch.

Packages: ``infra/requirements/gpu.txt``. The array module is a parameter, so that tests run this against NumPy.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import xgboost

from models.scoring.backends import Backend
from models.scoring.onnx_export import base_margin

logger = logging.getLogger(__name__)
FloatArray = npt.NDArray[np.float32]
#: rows that the staging buffers hold at first; larger batches make them grow
STAGED_ROWS = 4096
#: what `infra/requirements/gpu.txt` brings, by module
_PACKAGES = {"cupy": "CuPy", "nvidia.nccl": "NCCL", "nvidia.cuda_nvrtc": "NVRTC"}


class Device(Protocol):
    """Memory that a model computes in, beside the host's."""

    name: str

    def staging(self, rows: int, width: int) -> FloatArray:
        """A host buffer that uploads fast."""

    def allocate(self, rows: int, width: int) -> Any:
        """An array on the device, float32 (rows, width), C order."""

    def upload(self, host: FloatArray, target: Any) -> None:
        """Copy rows of the staging buffer to as many on the device, in one go."""

    def download(self, array: Any) -> FloatArray: ...


class CupyDevice:
    """The current CUDA device, through CuPy.

    Raises:
        ImportError: CuPy is not installed.
        RuntimeError: there is no device, or its driver does not fit.
    """

    def __init__(self) -> None:
        self._cupy = importlib.import_module("cupy")
        self._pinned = importlib.import_module("cupyx").empty_pinned
        if not self._cupy.cuda.runtime.getDeviceCount():
            raise RuntimeError("CUDA sees no device")
        properties = self._cupy.cuda.runtime.getDeviceProperties(self._cupy.cuda.Device().id)
        self.name: str = properties["name"].decode()

    def staging(self, rows: int, width: int) -> FloatArray:
        # page-locked: the device reads it at the bus's full speed, without a copy of the driver's
        buffer: FloatArray = self._pinned((rows, width), np.float32)
        return buffer

    def allocate(self, rows: int, width: int) -> Any:
        return self._cupy.empty((rows, width), np.float32)

    def upload(self, host: FloatArray, target: Any) -> None:
        target.set(host)
        # the model computes on a stream of its own
        self._cupy.cuda.get_current_stream().synchronize()

    def download(self, array: Any) -> FloatArray:
        host: FloatArray = self._cupy.asnumpy(array)
        return host


class StagedRows:
    """A page-locked host buffer and its twin on the device, both kept between batches; one batch at a time."""

    def __init__(self, device: Device, width: int, rows: int = STAGED_ROWS) -> None:
        self._device, self._width = device, width
        self._lock = threading.Lock()
        self._grow(rows)

    def through(self, matrix: FloatArray, predict: Callable[[Any], Any]) -> FloatArray:
        """What ``predict`` makes of the rows (n, width) on the device, brought back as (n,)."""
        rows = len(matrix)
        with self._lock:
            if rows > len(self._host):
                self._grow(rows)
            self._host[:rows] = matrix
            there = self._there[:rows]
            self._device.upload(self._host[:rows], there)
            return self._device.download(predict(there)).reshape(-1).astype(np.float32, copy=False)

    def _grow(self, rows: int) -> None:
        self._host = self._device.staging(rows, self._width)
        self._there = self._device.allocate(rows, self._width)


class CudaXgboostBackend:
    """XGBoost's ``inplace_predict`` on an array that is on the device already."""

    name = "xgboost-cuda"

    def __init__(self, model: bytes, device: Device, kind: str = "cuda") -> None:
        """``kind``: XGBoost's name of the device; "cpu" for tests against NumPy."""
        self._booster = xgboost.Booster(model_file=bytearray(model))
        self._booster.set_param({"device": kind})
        self._rows = StagedRows(device, self._booster.num_features())

    def margin(self, matrix: FloatArray) -> FloatArray:
        return self._rows.through(matrix, self._predict)

    def _predict(self, rows: Any) -> Any:
        return self._booster.inplace_predict(rows, predict_type="margin", validate_features=False)


class NvforestBackend:
    """nvForest, the successor of cuML's FIL. It is given the trees as a regression, whose prediction is the margin."""

    name = "nvforest"

    def __init__(self, model: bytes, device: Device, nvforest: Any, kind: str = "gpu") -> None:
        """``nvforest``: the module; ``kind``: its name of the device."""
        booster = xgboost.Booster(model_file=bytearray(model))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            path.write_bytes(as_regression(booster))
            self._model = nvforest.load_model(
                path, device=kind, model_type="xgboost_json", precision="single"
            )
        self._rows = StagedRows(device, booster.num_features())

    def margin(self, matrix: FloatArray) -> FloatArray:
        return self._rows.through(matrix, self._model.predict)


def as_regression(booster: xgboost.Booster) -> bytes:
    """The same trees as a squared-error model in JSON: its prediction is the margin, which a sigmoid would round."""
    model = msgspec.json.decode(bytes(booster.save_raw("json")))
    learner = model["learner"]
    # the digits of float32, in the bracketed form that XGBoost writes from 3.1 on
    base = np.float32(base_margin(learner["learner_model_param"]["base_score"]))
    learner["learner_model_param"]["base_score"] = f"[{base:.9E}]"
    learner["objective"] = {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}
    return msgspec.json.encode(model)


def gpu_backends(model: bytes) -> list[Backend]:
    """What this machine's GPU offers for a model; none without a GPU, and what fails to load is logged and left out."""
    try:
        device = CupyDevice()
    except Exception as error:  # noqa: BLE001 - CuPy raises types of its own for missing drivers and libraries
        logger.debug("no GPU backend: %s", error)
        return []
    found: list[Backend] = []
    for make in (CudaXgboostBackend, _nvforest_backend):
        try:
            found.append(make(model, device))
        except ImportError as error:
            logger.debug("no GPU backend: %s", error)
        except Exception:  # a GPU that does not work must not keep a replica from serving
            logger.exception("a GPU backend does not load; the others serve")
    return found


def what_a_gpu_needs() -> str | None:
    """Everything that keeps a GPU backend from working here, by name, and what would bring it; None where one works."""
    missing = []
    try:
        CupyDevice()
    except ImportError as error:
        # one that is not installed is among the packages
        if _is_installed("cupy"):
            missing.append(f"a CuPy that can be imported ({error})")
    except Exception as error:  # noqa: BLE001 - as above
        missing.append(f"a device that CuPy can use ({error})")
    else:
        if xgboost.build_info().get("USE_CUDA"):
            return None
    if not _driver_is_here():
        missing.insert(0, "an NVIDIA GPU with a CUDA 12 driver (libcuda.so.1, 535 or later)")
    if not xgboost.build_info().get("USE_CUDA"):
        missing.append("an XGBoost that is built with CUDA")
    if packages := [name for module, name in _PACKAGES.items() if not _is_installed(module)]:
        missing.append(f"{', '.join(packages)}: `uv pip install -r infra/requirements/gpu.txt` into .venv")
    return f"missing are {'; '.join(missing)}"


def _driver_is_here() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # what holds it is not there either
        return False


def _nvforest_backend(model: bytes, device: Device) -> Backend:
    return NvforestBackend(model, device, importlib.import_module("nvforest"))
