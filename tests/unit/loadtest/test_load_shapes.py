"""Shapes of load runs and their verdicts, and every user in every shape with a stack of fakes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from loadtest.locust.sla import Sla, Totals, breaches

GOOD = Totals(requests=1000, failures=1, missing=0, p50_ms=5, p99_ms=100)


def test_what_keeps_the_sla_passes() -> None:
    assert breaches(Sla(), GOOD) == []


@pytest.mark.parametrize(
    ("totals", "word"),
    [
        (Totals(0, 0, 0, 0, 0), "no call"),
        (Totals(1000, 0, 0, 5, 101), "p99 101 ms"),
        (Totals(1000, 2, 0, 5, 50), "0.20% of the calls failed"),
        (Totals(1000, 0, 1, 5, 50), "1 transactions"),
    ],
)
def test_each_breach_is_said(totals: Totals, word: str) -> None:
    said = breaches(Sla(), totals)
    assert len(said) == 1
    assert word in said[0]


# Locust changes sockets and threads of the whole process as it is imported: not in this one
SCRIPT = """
from loadtest.locust.shapes import SHAPES, users_at
table = {shape: [users_at(shape, 100, 100.0, t) for t in (0, 5, 35, 45, 55, 65, 95, 100)] for shape in SHAPES}
assert table == {
    "steady": [100] * 7 + [None],
    "ramp": [10, 10, 40, 50, 60, 70, 100, None],
    "spike": [20, 20, 20, 100, 100, 20, 20, None],
    "attack": [50, 50, 100, 100, 100, 100, 50, None],
    "soak": [60] * 7 + [None],
}, table
assert users_at("spike", 1, 10.0, 0.0) == 1
"""


def test_shapes() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)


TARGETS, SHAPES = ("http", "kafka"), ("steady", "ramp", "spike", "attack", "soak")


@pytest.fixture(scope="module")
def told() -> Any:
    """What ``load_script`` says of its runs."""
    command = [sys.executable, "-m", "tests.support.load_script"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_user_runs_in_every_shape(told: Any, target: str, shape: str) -> None:
    ticks, run = told["ticks"][f"{target} {shape}"], told["runs"][f"{target} {shape}"]
    assert ticks["seconds"] == (600 if shape == "soak" else 60)
    assert ticks["attacked"] == (list(range(20, 40)) if shape == "attack" else [])
    assert run["code"] == 0
    summary = json.loads(run["out"])
    assert summary["requests"] > 0 and summary["broken"] == []
    assert (summary["failures"], summary["missing"]) == (0, 0)
    # attackers come in an attack, and nowhere else
    assert (summary["attacks"] > 0) == (shape == "attack")


def test_a_run_ends_with_a_table_and_a_report(told: Any) -> None:
    run = told["table"]
    lines = run["out"].splitlines()
    assert run["code"] == 0
    assert lines[0].split()[:5] == ["Type", "Name", "#", "reqs", "#"]
    assert any(line.split()[:2] == ["HTTP", "score"] for line in lines)
    assert any(line.split()[:1] == ["Aggregated"] for line in lines)
    assert "SLA kept" in lines
    assert lines[-1].startswith("report: ") and lines[-1].endswith("-http-steady.html")


@pytest.mark.parametrize(
    ("name", "said"), [("slow", "SLA broken: p99 "), ("refused", "SLA broken: 100.00% of the calls failed")]
)
def test_a_broken_sla_is_told_and_is_the_exit_code(told: Any, name: str, said: str) -> None:
    assert told[name]["code"] == 1
    assert told[name]["out"].splitlines()[-1].startswith(said)
    assert "Aggregated" in told[name]["out"]


def test_what_failed_is_listed(told: Any) -> None:
    assert "503 overloaded" in told["refused"]["out"]
