"""What a metric has counted."""

from __future__ import annotations

from typing import Any


def counted(metric: Any) -> float:
    """The value of a metric without labels."""
    return float(next(iter(metric.collect())).samples[0].value)


def total(metric: Any, **labels: str) -> float:
    """The sum of a counter's series whose labels include ``labels``."""
    samples = next(iter(metric.collect())).samples
    return sum(s.value for s in samples if s.name.endswith("_total") and labels.items() <= s.labels.items())
