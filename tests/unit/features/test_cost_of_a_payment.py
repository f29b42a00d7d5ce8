"""What a payment costs the kernels is bounded by the profile, never by history: their steps are counted, time is not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.long_history import payments_of, profiles_after

FULL = 500


def steps_after(history: int, folder: Path) -> dict[str, int]:
    """Steps of the kernels for one payment more of a card, and at a merchant, that have so many."""
    payments = payments_of(history + 1)
    payer, shared_entity = profiles_after(payments[:history])
    file = folder / f"{history}.npz"
    records = {"payment": payments[history:], "payer": payer[:1], "shared_entity": shared_entity[:1]}
    np.savez(file, **{name: np.ascontiguousarray(of).view(np.uint8) for name, of in records.items()})
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kernel_steps", str(file)],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, cwd=Path(__file__).parents[3],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counted: dict[str, int] = json.loads(done.stdout)
    assert counted.pop("repeated") == 0
    return counted


@pytest.mark.parametrize("history", [5_000, 50_000])
def test_steps_do_not_grow_with_history(history: int, tmp_path: Path) -> None:
    few, many = steps_after(FULL, tmp_path), steps_after(history, tmp_path)
    # 40 recent and up to 90 old payments are looked at, and the tiles of a merchant's rings
    assert few["payer"] > 1_000 and few["shared_entity"] > 100
    assert many["payer"] <= 1.1 * few["payer"]
    assert many["shared_entity"] <= 1.1 * few["shared_entity"]
