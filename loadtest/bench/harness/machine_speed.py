"""The machine's current speed: time of a fixed loop of Python and NumPy, before and after each measurement.

On a shared machine the speed of the cores can differ by half between two benchmarks. Compare figures of two days only if the loop
took the same time on both; ratios within one run are valid in any case.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

#: rounds of the two halves; about 0.15 s each on an AMD EPYC of 2021
PYTHON_ROUNDS, NUMPY_ROUNDS = 12, 10
ITEMS, VALUES = 20_000, 100_000


@dataclass(frozen=True)
class Speed:
    """One measurement of the loop, in ms: CPU time and wall time."""

    cpu_ms: float
    clock_ms: float


def fixed_work() -> int:
    """The loop: the same objects and numbers every time. Returns a checksum, which is the same on every machine."""
    total = 0
    for _ in range(PYTHON_ROUNDS):
        rows = {str(number): (number, [number, None]) for number in range(ITEMS)}
        total += sum(len(name) + row[0] + len(row[1]) for name, row in rows.items())
    values = (np.arange(VALUES, dtype=np.int64) * 2_654_435_761) % 4_294_967_291
    for turn in range(NUMPY_ROUNDS):
        ordered = np.sort(values ^ turn)
        total += int(np.cumsum(ordered)[-1] % 1_000_003)
    return total


def measure() -> Speed:
    """Run the loop once."""
    began, used = time.perf_counter(), time.process_time()
    fixed_work()
    return Speed((time.process_time() - used) * 1000, (time.perf_counter() - began) * 1000)


def describe(looks: Sequence[Speed]) -> str:
    """The measurements in one sentence; empty if there are none."""
    if not looks:
        return ""
    cpu = [look.cpu_ms for look in looks]
    waited = median(look.clock_ms / look.cpu_ms for look in looks)
    spread = (max(cpu) - min(cpu)) / median(cpu)
    return (
        f"The calibration loop (fixed work in Python and NumPy) took {median(cpu):.0f} ms of CPU, median of {len(looks)}, from"
        f" {min(cpu):.0f} to {max(cpu):.0f} (spread {spread:.0%}); on the clock {waited:.2f} times its CPU time"
    )
