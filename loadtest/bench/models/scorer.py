"""Cost of scoring and explaining a row, by backend and batch size: ``python -m loadtest.bench.models.scorer [--rows N]``.

CPU time of the calling thread over batches of rows not seen before (on the same rows again a processor predicts every
branch of a tree, and figures come out up to four times too good). The model is trained here, on simulated traffic.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import xgboost

from features.replay import replay
from loadtest.bench.harness.table import Row, shown, times
from loadtest.traffic.simulator import create_world, history_table
from models.scoring.backends import Backend, FloatArray, ForestBackend, OnnxBackend, XgboostBackend
from models.scoring.onnx_export import to_onnx
from models.training.dataset import from_history
from models.training.learners.parameters import Parameters
from models.training.training import fit

SIZES = (1, 16, 30, 100, 256, 1024, 4096)
ONNX_SLICES = (16, 64, 1024)
ROUNDS = 5
#: rows of one round at least, so that a round of small batches is long enough to time
ROUND_ROWS = 1024


def sample_model(rows: int = 60_000) -> tuple[xgboost.Booster, FloatArray]:
    """A model of the usual size (200 trees of depth 4) and the rows it learnt from, from simulated traffic."""
    end = datetime(2026, 11, 1, tzinfo=UTC)
    history = history_table(create_world(5, cards=3_000), end - timedelta(days=60), end, count=rows)
    matrix = replay(history)
    return fit(from_history(history, lambda _: matrix, silence="honest"), Parameters()), matrix


def cpu_backends(booster: xgboost.Booster) -> list[tuple[str, Backend]]:
    """Every way to compute margins on a CPU, by what the table calls it."""
    ubj, onnx = bytes(booster.save_raw("ubj")), to_onnx(booster)
    named: list[tuple[str, Backend]] = [("forest, compiled", ForestBackend(booster))]
    named += [(f"ONNX Runtime, {rows} rows a call", OnnxBackend(onnx, 1, rows)) for rows in ONNX_SLICES]
    named += [(f"XGBoost, {threads} thread(s)", XgboostBackend(ubj, threads)) for threads in (1, 2)]
    return named


def scorer_rows(rows: int = 60_000) -> list[Row]:
    """The table's lines: each backend at each size against ONNX Runtime in slices of 16, then explanations."""
    booster, matrix = sample_model(rows)
    table: list[Row] = []
    named = cpu_backends(booster)
    for size in SIZES:
        lines = [Row(f"margin, {name}, {size} rows", us_a_row(backend.margin, matrix, size), "us a row") for name, backend in named]  # fmt: skip
        table += [_against(line, lines[1]) for line in lines]
    explainers = (ForestBackend(booster), XgboostBackend(bytes(booster.save_raw("ubj"))))
    for size in (1, 32):
        lines = [
            Row(f"TreeSHAP, {explainer.name}, {size} rows", us_a_row(explainer.contributions, matrix, size, 64), "us a row")
            for explainer in explainers
        ]  # fmt: skip
        table += [_against(line, lines[1]) for line in lines]
    return table


def us_a_row(
    call: Callable[[FloatArray], FloatArray], matrix: FloatArray, size: int, round_rows: int = ROUND_ROWS
) -> list[float]:
    """Microseconds of CPU a row, one figure a round, over batches of ``size`` rows one after the other."""
    batches = max(1, round_rows // size)
    call(np.ascontiguousarray(matrix[:size]))
    out, start = [], 0
    for _ in range(ROUNDS):
        chosen = []
        for _ in range(batches):
            start = start + size if start + 2 * size <= len(matrix) else 0
            chosen.append(np.ascontiguousarray(matrix[start : start + size]))
        began = time.process_time()
        for batch in chosen:
            call(batch)
        out.append((time.process_time() - began) / (batches * size) * 1e6)
    return out


def _against(row: Row, other: Row) -> Row:
    return Row(row.what, row.runs, row.unit, factor=times(row, other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="simulated transactions to learn from")
    args = parser.parse_args()
    shown(scorer_rows(args.rows))
    print("ratios: margins to ONNX Runtime with 16 rows a call, TreeSHAP to XGBoost")


if __name__ == "__main__":
    main()
