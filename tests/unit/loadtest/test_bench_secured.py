"""The bench of the secured stack: its rows compare each run with the plain one before it."""

from __future__ import annotations

from typing import Any

from loadtest.bench.secured.rows import PLAIN, SECURED, pair_rows


def summary(cpu: float, p99: float, redis: float) -> dict[str, Any]:
    return {
        "cpu_us_per_transaction": {"total": cpu, "by_process": {"kafka": 30.0, "redis": redis}},
        "latency_ms": {"p99": p99}, "missing": 1, "duplicated": 0,
    }  # fmt: skip


def test_the_rows_compare_pairs() -> None:
    found = {
        PLAIN: [summary(100, 20, 10), summary(200, 40, 10)],
        SECURED: [summary(110, 30, 15), summary(240, 40, 17)],
    }
    plain, _, cpu, p99 = pair_rows(1000, found)
    assert (plain.middle, plain.factor) == (150, "") and plain.note == "missing or doubled: 2"
    assert (cpu.what, cpu.middle) == ("secured stack at 1,000/s, CPU a transaction, all processes", 175)
    assert cpu.factor == "1.15 of plain (1.10 to 1.20)"
    assert p99.factor == "1.25 of plain (1.00 to 1.50)" and p99.note == "kafka 30 us, redis 16 us"
