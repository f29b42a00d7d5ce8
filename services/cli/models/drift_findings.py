"""Drift rows by finding: every round repeats what still drifts, and a person wants each once, with its beginning and end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from streams.contracts.drift import DriftRow

_ORDER = {"critical": 0, "warning": 1, "none": 2}


@dataclass(frozen=True)
class DriftFinding:
    """One detector on one feature and model. ``newest``: its newest row; ``since``: the end of the first window of those, without
    a break, in which it drifted, or, if it does not drift, did not; ``rounds``: how many these are.
    """

    newest: DriftRow
    since: datetime
    rounds: int


def findings(rows: Iterable[DriftRow]) -> list[DriftFinding]:
    """The findings of rows given oldest first: what drifts most first, then the newest."""
    found: dict[tuple[str, str, str], DriftFinding] = {}
    for row in rows:
        key = (row.model_version, row.detector, row.feature)
        before = found.get(key)
        if before is not None and (before.newest.severity == "none") == (row.severity == "none"):
            found[key] = DriftFinding(row, before.since, before.rounds + 1)
        else:
            found[key] = DriftFinding(row, row.window_end, 1)
    newest_first = sorted(found.values(), key=lambda finding: finding.newest.window_end, reverse=True)
    return sorted(newest_first, key=lambda finding: _ORDER[finding.newest.severity])
