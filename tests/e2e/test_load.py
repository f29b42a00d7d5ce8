"""Locust's users on a whole stack: what they send is decided, and the exit code says whether the limits were met."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streams.runtime.settings import Settings

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
#: limits that a busy test machine cannot exceed: the test checks counts, not times
PATIENT = ("--deadline-ms", "10000", "--p99-ms", "60000", "--error-share", "0")


def load(settings: Settings, *args: str) -> tuple[int, str]:
    """Exit code and output of a short run."""
    command = [
        sys.executable,
        "-m",
        "loadtest.locust",
        "--home",
        settings.home,
        "--users",
        "4",
        "--seconds",
        "6",
    ]
    done = subprocess.run([*command, *args], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    return done.returncode, done.stdout


@pytest.mark.parametrize(("target", "shape"), [("http", "attack"), ("kafka", "spike")])
def test_users_get_their_decisions(running_stack: Settings, tmp_path: Path, target: str, shape: str) -> None:
    code, out = load(
        running_stack, "--target", target, "--shape", shape, "--report", str(tmp_path), "--json", *PATIENT
    )
    told: dict[str, Any] = json.loads(out)
    assert (code, told["failures"], told["missing"], told["broken"]) == (0, 0, 0, [])
    assert told["requests"] >= 4
    # a third of an attack is theirs
    assert (told["attacks"] > 0) == (shape == "attack")
    assert Path(told["report"]).parent == tmp_path
    assert "<html" in Path(told["report"]).read_text()


def test_a_broken_sla_is_an_exit_code(running_stack: Settings) -> None:
    code, out = load(running_stack, *PATIENT, "--p99-ms", "0.001")
    assert code == 1
    # the text output has the table, then the result
    assert "Aggregated" in out
    assert out.splitlines()[-1].startswith("SLA broken: p99 ")
