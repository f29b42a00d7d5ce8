"""GPU backends: XGBoost on CuPy arrays, and nvForest. Each batch is uploaded once.

Packages: ``infra/requirements/gpu.txt``. The device is a parameter, so that tests run this code with NumPy.
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
#: initial rows of the staging buffers; they grow for larger batches
STAGED_ROWS = 4096
#: the packages of `infra/requirements/gpu.txt`, by module
_PACKAGES = {"cupy": "CuPy", "nvidia.nccl": "NCCL", "nvidia.cuda_nvrtc": "NVRTC"}


class Device(Protocol):
    """The memory in which a model computes."""

    name: str

    def staging(self, rows: int, width: int) -> FloatArray:
        """A host buffer from which uploads are fast."""

    def allocate(self, rows: int, width: int) -> Any:
        """An array on the device, float32 (rows, width), C order."""

    def upload(self, host: FloatArray, target: Any) -> None:
        """Copy the host buffer's rows to an equally large array on the device, in one transfer."""

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
        # page-locked: the device reads it at full bus speed, without a copy by the driver
        buffer: FloatArray = self._pinned((rows, width), np.float32)
        return buffer

    def allocate(self, rows: int, width: int) -> Any:
        return self._cupy.empty((rows, width), np.float32)

    def upload(self, host: FloatArray, target: Any) -> None:
        target.set(host)
        # wait, because the model computes on another stream
        self._cupy.cuda.get_current_stream().synchronize()

    def download(self, array: Any) -> FloatArray:
        host: FloatArray = self._cupy.asnumpy(array)
        return host


class StagedRows:
    """A page-locked host buffer and its counterpart on the device, kept between batches; handles one batch at a time."""

    def __init__(self, device: Device, width: int, rows: int = STAGED_ROWS) -> None:
        self._device, self._width = device, width
        self._lock = threading.Lock()
        self._grow(rows)

    def through(self, matrix: FloatArray, predict: Callable[[Any], Any]) -> FloatArray:
        """Apply ``predict`` to rows (n, width) on the device; returns its result on the host, (n,)."""
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
    """XGBoost's ``inplace_predict`` on an array on the device."""

    name = "xgboost-cuda"

    def __init__(self, model: bytes, device: Device, kind: str = "cuda") -> None:
        """``kind``: XGBoost's name of the device; tests use "cpu" with NumPy."""
        self._booster = xgboost.Booster(model_file=bytearray(model))
        self._booster.set_param({"device": kind})
        self._rows = StagedRows(device, self._booster.num_features())

    def margin(self, matrix: FloatArray) -> FloatArray:
        return self._rows.through(matrix, self._predict)

    def _predict(self, rows: Any) -> Any:
        return self._booster.inplace_predict(rows, predict_type="margin", validate_features=False)


class NvforestBackend:
    """nvForest, the successor of cuML's FIL. It gets the trees as a regression model, whose prediction is the margin."""

    name = "nvforest"

    def __init__(self, model: bytes, device: Device, nvforest: Any) -> None:
        """``nvforest``: the module."""
        booster = xgboost.Booster(model_file=bytearray(model))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            path.write_bytes(as_regression(booster))
            self._model = nvforest.load_model(
                path, device="gpu", model_type="xgboost_json", precision="single"
            )
        self._rows = StagedRows(device, booster.num_features())

    def margin(self, matrix: FloatArray) -> FloatArray:
        return self._rows.through(matrix, self._model.predict)


def as_regression(booster: xgboost.Booster) -> bytes:
    """The same trees as a squared-error model in JSON: it predicts the margin, without a sigmoid that would round it."""
    model = msgspec.json.decode(bytes(booster.save_raw("json")))
    learner = model["learner"]
    # the digits of a float32, in the brackets that XGBoost writes since 3.1
    base = np.float32(base_margin(learner["learner_model_param"]["base_score"]))
    learner["learner_model_param"]["base_score"] = f"[{base:.9E}]"
    learner["objective"] = {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}
    return msgspec.json.encode(model)


def gpu_backends(model: bytes) -> list[Backend]:
    """The backends for a model that work on this machine's GPU; none without a GPU. Failures are logged."""
    try:
        device = CupyDevice()
    except Exception as error:  # noqa: BLE001 - CuPy has its own types for missing drivers and libraries
        logger.debug("no GPU backend: %s", error)
        return []
    found: list[Backend] = []
    for make in (CudaXgboostBackend, _nvforest_backend):
        try:
            found.append(make(model, device))
        except ImportError as error:
            logger.debug("no GPU backend: %s", error)
        except Exception:  # a broken GPU must not keep a replica from serving
            logger.exception("a GPU backend does not load; serving without it")
    return found


def what_a_gpu_needs() -> str | None:
    """What is missing for a GPU backend on this machine and how to install it; None if one works."""
    missing = []
    try:
        CupyDevice()
    except ImportError as error:
        # a missing package is reported below
        if is_installed("cupy"):
            missing.append(f"a CuPy that can be imported ({error})")
    except Exception as error:  # noqa: BLE001 - as above
        missing.append(f"a device that CuPy can use ({error})")
    else:
        if xgboost.build_info().get("USE_CUDA"):
            return None
    if not driver_is_here():
        missing.insert(0, "an NVIDIA GPU with a CUDA 12 driver (libcuda.so.1, 535 or later)")
    if not xgboost.build_info().get("USE_CUDA"):
        missing.append("an XGBoost that is built with CUDA")
    if packages := [name for module, name in _PACKAGES.items() if not is_installed(module)]:
        missing.append(f"{', '.join(packages)}: `uv pip install -r infra/requirements/gpu.txt` into .venv")
    return f"missing: {'; '.join(missing)}"


def driver_is_here() -> bool:
    """Whether NVIDIA's driver library can be loaded."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def is_installed(module: str) -> bool:
    """Whether a module could be imported; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # its parent package is not installed
        return False


def _nvforest_backend(model: bytes, device: Device) -> Backend:
    return NvforestBackend(model, device, importlib.import_module("nvforest"))
