"""A window of live traffic: an even sample of all rows of a span of event time, however many there are.

Windows do not overlap. One is complete when it has enough rows *and* covers enough event time: at 300 payments a second 2,000 rows are
seven seconds, in which one attack or one busy shop is a large share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WindowPolicy:
    """``rows``: most rows kept. ``min_rows``, ``min_span_s`` (event time): when a window is complete. ``pause_s``: least time between tests.

    At most ``rows_per_s`` rows are looked at: drift does not need all traffic, and must never slow a decision down.
    """

    rows: int = 2000
    min_rows: int = 1000
    min_span_s: float = 120.0
    pause_s: float = 5.0
    rows_per_s: int = 400


@dataclass(frozen=True)
class Window:
    """n rows with features (n, width), event time (ms since 1970) and card (any number that tells cards apart); and m decisions.

    The decisions are a sample of their own: score, decision code, event time and card of each.
    """

    matrix: Floats
    event_ms: Ints
    cards: Ints
    scores: Floats
    decisions: npt.NDArray[np.int8]
    decided_ms: Ints
    decided_cards: Ints


class Collector:
    """Collects windows one after the other. The same rows in the same parts give the same sample."""

    def __init__(self, policy: WindowPolicy, width: int) -> None:
        self._policy = policy
        self._rows = _Sample(
            policy.rows, [np.full((policy.rows, width), np.nan, np.float32), *_ids(policy.rows)]
        )
        self._decided = _Sample(
            policy.rows,
            [np.zeros(policy.rows, np.float32), np.zeros(policy.rows, np.int8), *_ids(policy.rows)],
        )

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, matrix: Floats, event_ms: Ints, cards: Ints) -> None:
        self._rows.add(matrix, event_ms, cards)

    def add_decisions(
        self, scores: Floats, decisions: npt.NDArray[np.int8], decided_ms: Ints, cards: Ints
    ) -> None:
        self._decided.add(scores, decisions, decided_ms, cards)

    def complete(self) -> bool:
        """Whether there are enough rows over enough event time. A few late or early rows count for nothing."""
        if len(self) < self._policy.min_rows:
            return False
        early, late = np.quantile(self._rows.columns()[1], (0.05, 0.95))
        return bool((late - early) / 0.9 >= self._policy.min_span_s * 1000)

    def close(self) -> Window:
        """The window; the next one begins."""
        window = Window(*(column.copy() for column in (*self._rows.columns(), *self._decided.columns())))
        self._rows.clear()
        self._decided.clear()
        return window

    def forget_decisions(self) -> None:
        """Drop the decisions when the model changes: scores of two models are not comparable. The rows stay."""
        self._decided.clear()


class _Sample:
    """A uniform sample of at most ``size`` of all rows added (Vitter's algorithm R), kept in columns."""

    def __init__(self, size: int, columns: list[npt.NDArray[Any]]) -> None:
        self._size, self._columns, self._seen = size, columns, 0
        self._random = np.random.default_rng(0)

    def __len__(self) -> int:
        return min(self._seen, self._size)

    def add(self, *columns: npt.NDArray[Any]) -> None:
        numbers = self._seen + np.arange(len(columns[0]))
        places = np.where(numbers < self._size, numbers, self._random.integers(0, numbers + 1))
        kept = places < self._size
        for mine, given in zip(self._columns, columns, strict=True):
            mine[places[kept]] = given[kept]
        self._seen += len(numbers)

    def columns(self) -> list[npt.NDArray[Any]]:
        return [column[: len(self)] for column in self._columns]

    def clear(self) -> None:
        self._seen = 0


def _ids(rows: int) -> list[npt.NDArray[Any]]:
    return [np.zeros(rows, np.int64), np.zeros(rows, np.int64)]
