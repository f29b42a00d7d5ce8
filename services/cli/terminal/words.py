"""Figures in words for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A span of time in the unit that suits it: "12.3 s", "34 min", "5.2 h", "49 days"."""
    for limit, size, unit, digits in ((120, 1, "s", 1), (7_200, 60, "min", 0), (172_800, 3600, "h", 1)):
        if seconds < limit:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86_400:,.0f} days"
