"""Scoring on a GPU against its targets, from host memory to host memory: ``make bench-gpu``.

Without a GPU it prints what would be needed and exits 0. With a GPU it first compares every backend's scores with the CPU's (exit 1 if
they differ), then measures; the table is also written to ``loadtest/reports/<date>-gpu.md``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np

from loadtest.bench.harness.table import Row, conditions, left_out, markdown, write_report
from loadtest.bench.models.scorer import sample_model
from models.scoring.backend_table import machine
from models.scoring.backends import Backend, FloatArray, XgboostBackend
from models.scoring.gpu_backends import gpu_backends, what_a_gpu_needs

LARGE, SMALL = 4096, 256
LARGE_CALLS, SMALL_CALLS = 500, 5_000
TOLERANCE = 1e-5
#: at least, then
LARGE_TARGETS, SMALL_TARGETS = ("5", "10"), ("2", "1")


class WrongScores(Exception):
    """The GPU's scores differ from the CPU's, or no backend loads on it; the text says which."""


def rows_here() -> list[Row]:
    """The two rows of each backend of this machine's GPU; without one the two rows with what it would need.

    Raises:
        WrongScores: what would be timed is not right.
    """
    need = what_a_gpu_needs()
    if need is not None:
        return [
            left_out(f"GPU, batches of {LARGE}, M rows/s", need, *LARGE_TARGETS),
            left_out(f"GPU, {SMALL} rows, p99 in ms", need, *SMALL_TARGETS),
        ]
    booster, matrix = sample_model()
    model = bytes(booster.save_raw("ubj"))
    backends = gpu_backends(model)
    if not backends or (wrong := differing(backends, XgboostBackend(model), matrix)):
        raise WrongScores(f"scores are not the CPU's: {', '.join(wrong) if backends else 'no backend loads'}")
    return gpu_rows(backends, matrix)


def gpu_rows(backends: Sequence[Backend], matrix: FloatArray, scale: float = 1.0) -> list[Row]:
    """Rows a second in batches of 4,096, and p50 and p99 of a call with 256 rows; ``scale`` below 1 for fewer calls."""
    table = []
    for backend in backends:
        large = _seconds(backend, matrix, LARGE, max(10, int(LARGE_CALLS * scale)))
        tenths = [LARGE * len(part) / part.sum() / 1e6 for part in np.array_split(large, 10)]
        small = _seconds(backend, matrix, SMALL, max(10, int(SMALL_CALLS * scale))) * 1000
        table.append(
            Row(
                f"{backend.name}, batches of {LARGE}", tenths, "M rows/s", *LARGE_TARGETS, more_is_better=True
            )
        )
        p99 = [float(np.percentile(small, 99))]
        note = f"p50 {np.percentile(small, 50):.3f}, max {small.max():.3f}"
        table.append(Row(f"{backend.name}, {SMALL} rows, p99", p99, "ms", *SMALL_TARGETS, note=note))
    return table


def differing(backends: Sequence[Backend], reference: Backend, matrix: FloatArray) -> list[str]:
    """Backends whose probabilities are not the reference's within 1e-5, on ordinary, unknown and infinite values."""
    rows = matrix[:LARGE].copy()
    rows[::5, ::3], rows[1::5, ::4], rows[2::5, ::4] = np.nan, np.inf, -np.inf
    expected = _probability(reference.margin(rows))
    return [
        f"{backend.name}: {worst:.2g}"
        for backend in backends
        if not (worst := float(np.max(np.abs(_probability(backend.margin(rows)) - expected)))) <= TOLERANCE
    ]


def _probability(margin: FloatArray) -> FloatArray:
    return (1 / (1 + np.exp(-margin.astype(np.float64)))).astype(np.float32)


def _seconds(backend: Backend, matrix: FloatArray, size: int, calls: int) -> FloatArray:
    """Wall time of each call: what happens on the device is no CPU time."""
    starts = np.arange(calls) * size % (len(matrix) - size)
    for start in starts[:20]:
        backend.margin(matrix[start : start + size])
    took = np.empty(calls)
    for number, start in enumerate(starts):
        batch = matrix[start : start + size]
        began = time.perf_counter()
        backend.margin(batch)
        took[number] = time.perf_counter() - began
    return took.astype(np.float32)


def main() -> int:
    need = what_a_gpu_needs()
    if need is not None:
        print(f"bench-gpu: nothing to measure here: {need}.")
        print("Targets there: batches of 4,096 at 5 M rows/s, then 10 M; 256 rows with p99 2 ms, then 1 ms.")
        return 0
    try:
        rows = rows_here()
    except WrongScores as error:
        print(f"bench-gpu: {error}")
        return 1
    print(f"{markdown(rows)}\n\n{machine()}\n\n{conditions()}")
    path = write_report(
        rows, "make bench-gpu", "gpu", "Scoring on a GPU, host memory to host memory", more=[str(machine())]
    )
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
