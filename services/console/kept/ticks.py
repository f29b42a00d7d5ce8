"""Decisions a second by kind, with their latencies: counted by tenant, kept as seconds and as minutes, read as series.

The counts of one step are int64: DECISIONS, then STATUSES, then a histogram of latencies whose bounds grow by a tenth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from sqlite3 import Connection
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.decision import DECISIONS

STATUSES = ("scored", "degraded", "not_scored")
KINDS = (*DECISIONS, *STATUSES)
_PLACE = {name: place for place, name in enumerate(KINDS)}
#: the histogram: from FIRST_MS on, each bound is GROWTH times the one before; the last bin takes all that is slower (10 s)
FIRST_MS, GROWTH, BINS = 0.5, 1.1, 106
KIND_COUNT = len(KINDS)
WIDTH = KIND_COUNT + BINS
SECOND, MINUTE = 1, 60
#: how long seconds are kept; minutes are kept as long as decisions
KEEP_SECONDS_S = 6 * 3600
MAX_POINTS = 3_600
_LOG_GROWTH = float(np.log(GROWTH))

Counts = npt.NDArray[np.int64]
#: (second, tenant, decision, status)
Kind = tuple[int, str, str, str]


class Ticks:
    """Counts that are not written yet, by second and tenant."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], Counts] = {}

    def add(self, seen: Sequence[Kind], latencies_ms: Sequence[float]) -> None:
        """Count decisions, each with its latency."""
        for (second, tenant, decision, status), count in Counter(seen).items():
            counts = self._of(second, tenant)
            counts[_PLACE[decision]] += count
            counts[_PLACE[status]] += count
        groups = {place: n for n, place in enumerate(dict.fromkeys(kind[:2] for kind in set(seen)))}
        bins = bins_of(np.array(latencies_ms, np.float64))
        if len(groups) > 1:
            # a histogram for each, in one count
            bins += BINS * np.array([groups[kind[:2]] for kind in seen])
        found = np.bincount(bins, minlength=BINS * len(groups)).reshape(-1, BINS)
        for (second, tenant), n in groups.items():
            self._of(second, tenant)[KIND_COUNT:] += found[n]

    def write(self, connection: Connection) -> None:
        """Add the counts to what is kept, and forget them here."""
        for (second, tenant), counts in self._counts.items():
            for step in (SECOND, MINUTE):
                key = (step, second // step * step, tenant)
                kept = connection.execute(
                    "SELECT counts FROM tick WHERE step = ? AND t = ? AND tenant = ?", key
                ).fetchone()
                total = counts if kept is None else counts + np.frombuffer(kept[0], "<i8")
                connection.execute(
                    "REPLACE INTO tick VALUES (?, ?, ?, ?)", (*key, total.astype("<i8").tobytes())
                )
        self._counts = {}

    def _of(self, second: int, tenant: str) -> Counts:
        found = self._counts.get((second, tenant))
        if found is None:
            found = self._counts[second, tenant] = np.zeros(WIDTH, np.int64)
        return found


def bins_of(latencies_ms: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The histogram's bin of each latency; whatever is no number counts as slowest."""
    with np.errstate(invalid="ignore", divide="ignore"):
        places = np.ceil(np.log(latencies_ms / FIRST_MS) / _LOG_GROWTH)
    bins: npt.NDArray[np.int64] = np.nan_to_num(np.clip(places, 0, BINS - 1), nan=BINS - 1).astype(np.int64)
    return bins


def quantile_ms(histogram: Counts, share: float) -> float | None:
    """The bound below which this share of the latencies lies, at most a tenth above the exact value; None: there are none."""
    total = int(histogram.sum())
    if not total:
        return None
    place = int(np.searchsorted(histogram.cumsum(), share * total))
    return round(float(FIRST_MS * GROWTH ** min(place, BINS - 1)), 2)


class Series(msgspec.Struct):
    """Columns of equal length; ``t``: seconds since 1970 at which a step begins. Counts are of the step, latencies None without any."""

    step_s: int
    t: list[int]
    counts: dict[str, list[int]]
    p50_ms: list[float | None]
    p99_ms: list[float | None]

    def columns(self) -> dict[str, Any]:
        """As the API gives it."""
        latencies = {"p50_ms": self.p50_ms, "p99_ms": self.p99_ms}
        return {"step_s": self.step_s, "t": self.t, **self.counts, **latencies}


def series(connection: Connection, begin_s: int, end_s: int, step_s: int, tenants: Sequence[str]) -> Series:
    """Counts from ``begin_s`` up to, not including, ``end_s`` in steps; of these tenants, or of all if none is named.

    Raises:
        ValueError: the step is below 1 s, or there would be more than MAX_POINTS.
    """
    if step_s < 1 or not 0 <= end_s - begin_s <= MAX_POINTS * step_s:
        raise ValueError(f"at most {MAX_POINTS:,} steps of at least 1 s")
    begin_s = begin_s // step_s * step_s
    points = max(1, -(-(end_s - begin_s) // step_s))
    kept = MINUTE if step_s % MINUTE == 0 else SECOND
    found = np.zeros((points, WIDTH), np.int64)
    named = f" AND tenant IN ({', '.join('?' * len(tenants))})" if tenants else ""
    rows = connection.execute(
        f"SELECT t, counts FROM tick WHERE step = ? AND t >= ? AND t < ?{named}",
        (kept, begin_s, begin_s + points * step_s, *tenants),
    )
    for t, counts in rows:
        found[(t - begin_s) // step_s] += np.frombuffer(counts, "<i8")
    histograms = found[:, KIND_COUNT:]
    return Series(
        step_s,
        [begin_s + place * step_s for place in range(points)],
        {name: found[:, place].tolist() for name, place in _PLACE.items()},
        [quantile_ms(histogram, 0.5) for histogram in histograms],
        [quantile_ms(histogram, 0.99) for histogram in histograms],
    )


def total(connection: Connection, begin_s: int, end_s: int, tenants: Sequence[str]) -> dict[str, Any]:
    """The counts of one span of seconds and its latencies."""
    named = f" AND tenant IN ({', '.join('?' * len(tenants))})" if tenants else ""
    found = np.zeros(WIDTH, np.int64)
    for (counts,) in connection.execute(
        f"SELECT counts FROM tick WHERE step = ? AND t >= ? AND t < ?{named}",
        (SECOND, begin_s, end_s, *tenants),
    ):
        found += np.frombuffer(counts, "<i8")
    counted = {name: int(found[place]) for name, place in _PLACE.items()}
    decisions = sum(counted[name] for name in DECISIONS)
    histogram = found[KIND_COUNT:]
    return {
        "decisions": decisions, "per_s": round(decisions / max(1, end_s - begin_s), 1), **counted,
        "p50_ms": quantile_ms(histogram, 0.5), "p99_ms": quantile_ms(histogram, 0.99),
    }  # fmt: skip


def forget(connection: Connection, now_s: int, keep_s: int) -> None:
    """Remove seconds and minutes that are too old."""
    connection.execute("DELETE FROM tick WHERE step = ? AND t < ?", (SECOND, now_s - KEEP_SECONDS_S))
    connection.execute("DELETE FROM tick WHERE step = ? AND t < ?", (MINUTE, now_s - keep_s))
