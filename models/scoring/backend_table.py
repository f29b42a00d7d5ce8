"""Which backend for which batch size: measured when a replica starts, once per machine and model, kept on disk, read by every
later replica. A model that replaces another in service takes over its table where both have the same backends."""

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
#: the least of so many batches counts, each of other rows: on the same rows again branches are predicted
ROUNDS = 5
#: tables of models long gone are removed beyond this many
KEPT_TABLES = 32
_LIBRARIES = ("numpy", "numba", "onnxruntime", "xgboost", "cupy-cuda12x", "nvforest-cu12")


class Entry(msgspec.Struct, frozen=True):
    """Batches of up to ``rows`` go to ``backend``. ``us_a_row``: what each backend took for a batch of that size."""

    rows: int
    backend: str
    us_a_row: dict[str, float]


class Table(msgspec.Struct, frozen=True):
    """``machine`` and ``model`` are what it was measured on; ``entries`` ascend, larger batches use the last."""

    machine: dict[str, str]
    model: str
    entries: tuple[Entry, ...]

    def fits(self, machine: dict[str, str], model: str, backends: Sequence[Backend]) -> bool:
        """Whether it says something about this machine, this model and these backends."""
        names = {backend.name for backend in backends}
        return (
            (self.machine, self.model) == (machine, model)
            and bool(self.entries)
            and all(before.rows < after.rows for before, after in pairwise(self.entries))
            and all(entry.backend in names and set(entry.us_a_row) == names for entry in self.entries)
        )


def measure(backends: Sequence[Backend], sample: Callable[[int], FloatArray], *, model: str) -> Table:
    """Time every backend on every size.

    Args:
        sample: gives n realistic rows.
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
    """The table kept in ``folder``, or a new one, kept there. What does not parse or fit is measured anew."""
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
    """What the speed of a backend depends on beside the model: processor, cores, libraries, GPU."""
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
        logger.warning("%s is not readable (%s): backends are measured anew", path, error)
        return None


def _keep(path: Path, table: Table) -> None:
    """Write it whole or not at all, and leave the newest ``KEPT_TABLES``. A folder that cannot be written is no error."""
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
        logger.warning("the table of backends is not kept in %s: %s", path.parent, error)


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
    except Exception:  # noqa: BLE001 - no CuPy, no driver, no device: each has a type of its own
        return "none"
