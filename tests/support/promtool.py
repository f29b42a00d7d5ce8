"""promtool's own tests of the alert rules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from infra.stack.tools import CHECKOUT

WITHIN_S = 400.0


def assert_promtool_agrees(file: str, cwd: Path) -> None:
    """Run one file of ``infra/prometheus``; skips where promtool is not installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (it comes with the prometheus package)")
    done = subprocess.run(
        [promtool, "test", "rules", str(CHECKOUT / "infra" / "prometheus" / file)],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stdout + done.stderr
