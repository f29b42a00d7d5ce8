"""When a kernel agrees with the naive oracle: bit for bit, or inside the error that the catalogue states."""

from __future__ import annotations

import math

import numpy as np

from tests.support.oracle import (
    HOUR,
    Event,
)

START = 1_700_000_000_000


def tolerance(name: str, e: Event, past: list[Event]) -> float | None:
    """None: the same float32; else the stated error, absolute."""
    if "std" in name or "zscore" in name:
        return 1e-6
    if name.endswith("home_distance_km"):
        return 5e-3
    if name.endswith("speed_kmh"):
        # places are kept in single precision: about a metre, over at least a second
        last = max((p.event_ms for p in past if p.latitude is not None), default=e.event_ms)
        return 5e-3 / (max(e.event_ms - last, 1000) / HOUR)
    return None


def agrees(name: str, got: float, want: float, e: Event, past: list[Event]) -> bool:
    if math.isnan(want):
        return bool(np.isnan(got))
    error = tolerance(name, e, past)
    if error is None:
        return bool(got == np.float32(want))
    return math.isclose(got, want, rel_tol=1e-5, abs_tol=error)
