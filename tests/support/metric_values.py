"""What a metric without labels has counted."""

from __future__ import annotations

from typing import Any


def counted(metric: Any) -> float:
    return float(next(iter(metric.collect())).samples[0].value)
