"""Which backend is fastest for which batch size: measured once per machine and model when a replica starts, stored on disk and
read by later replicas. A new model takes over the table of the live one if both have the same backends."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from models.scoring.backends import Backend, FloatArray
from models.scoring.gpu_backends import CupyDevice

logger = logging.getLogger(__name__)
SIZES = (1, 4, 16, 64, 256, 1024, 4096)
#: the fastest of so many batches counts; each has other rows, because on equal rows the CPU predicts the branches
ROUNDS = 5
#: most tables kept; the oldest are removed
KEPT_TABLES = 32
_LIBRARIES = ("numpy", "numba", "onnxruntime", "xgboost", "cupy-cuda12x", "nvforest-cu12")


class Entry(msgspec.Struct, frozen=True):
    """Batches of up to ``rows`` go to ``backend``. ``us_a_row``: microseconds a row of each backend at that batch size."""

    rows: int
    backend: str
    us_a_row: dict[str, float]


class Table(msgspec.Struct, frozen=True):
    """``machine`` and ``model``: what was measured. ``entries`` ascend; larger batches use the last one."""

    machine: dict[str, str]
    model: str
    entries: tuple[Entry, ...]

    def fits(self, machine: dict[str, str], model: str, backends: Sequence[Backend]) -> bool:
        """Whether the table is complete and was measured on this machine, model and set of backends."""
        names = {backend.name for backend in backends}
        return (
            (self.machine, self.model) == (machine, model)
            and bool(self.entries)
            and all(before.rows < after.rows for before, after in pairwise(self.entries))
            and all(entry.backend in names and set(entry.us_a_row) == names for entry in self.entries)
        )


def measure(backends: Sequence[Backend], sample: Callable[[int], FloatArray], *, model: str) -> Table:
    """Time every backend at every batch size.

    Args:
        sample: returns n realistic rows.
        model: digest of the model's bytes.
    """
    entries = []
    rows = sample(max(SIZES))
    for size in SIZES:
        took = {backend.name: _us_a_row(backend, rows, size) for backend in backends}
        entries.append(Entry(size, min(took, key=lambda name: took[name]), took))
    return Table(machine(), model, tuple(entries))


def table_for(
    backends: Sequence[Backend], sample: Callable[[int], FloatArray], *, model: str, folder: Path | None
) -> Table:
    """The table stored in ``folder``, or a new one, which is stored there. A table that is unreadable or does not fit is replaced."""
    if folder is None:
        return measure(backends, sample, model=model)
    here = machine()
    names = ",".join(backend.name for backend in backends)
    key = hashlib.sha256(json.dumps([here, model, names], sort_keys=True).encode()).hexdigest()[:24]
    path = folder / f"{key}.json"
    known = _read(path)
    if known is not None and known.fits(here, model, backends):
        return known
    table = measure(backends, sample, model=model)
    _keep(path, table)
    return table


def machine() -> dict[str, str]:
    """What the speed of a backend depends on besides the model: processor, cores, libraries, GPU."""
    found = {"processor": _processor(), "cores": str(len(os.sched_getaffinity(0))), "gpu": _gpu()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _us_a_row(backend: Backend, rows: FloatArray, size: int) -> float:
    best = float("inf")
    backend.margin(rows[:size])
    for turn in range(ROUNDS):
        start = (turn * size) % (len(rows) - size + 1)
        batch = np.ascontiguousarray(rows[start : start + size])
        began = time.perf_counter()
        backend.margin(batch)
        best = min(best, time.perf_counter() - began)
    return round(best / size * 1e6, 3)


def _read(path: Path) -> Table | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Table)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning("%s is not readable (%s): measuring the backends again", path, error)
        return None


def _keep(path: Path, table: Table) -> None:
    """Write the table, complete or not at all, and keep the newest ``KEPT_TABLES``. A read-only folder is not an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(table), indent=2))
        Path(temporary).replace(path)
        by_age = sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in by_age[KEPT_TABLES:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("the table of backends cannot be stored in %s: %s", path.parent, error)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu() -> str:
    try:
        return CupyDevice().name
    except Exception:  # noqa: BLE001 - missing CuPy, driver or device: each raises another type
        return "none"
