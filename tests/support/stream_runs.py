"""What a run of the stream says of itself, for tests of what is made of it."""

from __future__ import annotations

from typing import Any


def summary(p50: float, p99: float, missing: int = 0) -> dict[str, Any]:
    """What ``tollgate simulate --json`` says of a run."""
    return {
        "produced": 100, "decided": {"scored": 100, "degraded": 0, "not_scored": 0}, "missing": missing, "duplicated": 0, "labels": 1_063,
        "latency_ms": {"p50": p50, "p99": p99, "p999": p99, "max": p99},
        "cpu_us_per_transaction": {"total": 100.0, "by_process": {"processor-0": 40.0}},
    }  # fmt: skip
