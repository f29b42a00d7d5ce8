"""The Handbook's transactions through the offline engine: the same kernels over a whole history, one process."""

from __future__ import annotations

from pathlib import Path
from time import process_time

from features.replay import replay
from loadtest.bench.harness.table import Row, left_out
from streams.mapping import load_history, load_mapping

HANDBOOK = Path("../shared/data/handbook_transactions.parquet")
WHAT = "offline replay of the Handbook, one core"


def offline_row(runs: int) -> Row:
    """CPU seconds of the process, all its threads counted; reading the file is not part of it."""
    if not HANDBOOK.exists():
        return left_out(WHAT, f"{HANDBOOK} is not here")
    history = load_history(HANDBOOK, load_mapping("handbook"))
    spent = []
    for _ in range(runs):
        began = process_time()
        matrix = replay(history)
        spent.append(process_time() - began)
    return Row(WHAT, spent, "s", "10", "4", note=f"{len(matrix):,} transactions")
