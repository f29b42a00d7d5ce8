"""Shapes of load runs and their verdicts."""

from __future__ import annotations

import subprocess
import sys

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
