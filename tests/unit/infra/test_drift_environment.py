"""The drift stream has an environment of its own (Alibi Detect needs an older NumPy): its process must load there."""

from __future__ import annotations

import os
import subprocess

import pytest

from infra.stack.tools import CHECKOUT, find_tools


def test_the_drift_process_loads_in_its_environment() -> None:
    python = find_tools().drift_python
    if python is None:
        pytest.skip("no .venv-drift: `make setup` makes it")
    done = subprocess.run(
        [python, "-c", "import streams.drift.main"], env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
