"""NumPy under CuPy's name, as far as ``models.scoring.gpu_backends`` uses it, on a machine that would show one device to everybody."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class HostArray(np.ndarray):
    """An array with CuPy's ``set``."""

    def set(self, values: Any) -> None:
        np.copyto(self, values)


def install() -> None:
    """Have ``import cupy`` find it, in this process."""
    runtime = SimpleNamespace(getDeviceCount=visible, getDeviceProperties=lambda _: {"name": b"NumPy"})
    cupy: Any = ModuleType("cupy")
    cupy.cuda = SimpleNamespace(
        runtime=runtime,
        Device=lambda: SimpleNamespace(id=0),
        get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None),
    )
    cupy.empty = lambda shape, dtype: np.empty(shape, dtype).view(HostArray)
    cupy.asnumpy = np.asarray
    cupyx: Any = ModuleType("cupyx")
    cupyx.empty_pinned = np.empty
    sys.modules.update(cupy=cupy, cupyx=cupyx)


def visible() -> int:
    """How many devices CUDA would show: all where the variable is not set."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    return len([word for word in shown.split(",") if word])
