"""Expected time of the challenger for a batch: a quick one judges on the batch's own thread, a slow one on another, which nobody waits for long.

On a busy machine, changing threads takes longer than a compiled model takes for a batch (decision 14).
"""

from __future__ import annotations

from models.scoring.scorer import Scorer
from services.scoring.decision.deadline import AT_ONCE_MS

#: a measurement counts as at most this, ms: enough to send the next batches to the other thread, and to come back within a few of them
MOST_MS = 10.0
#: share of a new measurement in the mean
NEW = 0.2


class ChallengerCost:
    """Moving mean of the time a row, ms, beside a fixed part a call; starts with what was measured when the model was warmed."""

    def __init__(self) -> None:
        self._version = ""
        self._fixed_ms, self._row_ms = 0.0, 0.01

    def begin(self, scorer: Scorer) -> None:
        """Switch to this model."""
        if scorer.version != self._version:
            self._version = scorer.version
            self._fixed_ms, self._row_ms = scorer.score_ms or (0.0, 0.01)

    @property
    def quick(self) -> bool:
        """Whether a row takes at most ``AT_ONCE_MS``."""
        return self.of(1) <= AT_ONCE_MS

    def of(self, rows: int) -> float:
        """Expected time for ``rows`` rows together, ms."""
        return self._fixed_ms + rows * self._row_ms

    def learn(self, rows: int, took_ms: float) -> None:
        """Take a measurement into account: ``rows`` rows took ``took_ms``."""
        took_ms = min(took_ms, MOST_MS)
        self._fixed_ms = min(self._fixed_ms, took_ms)
        self._row_ms += NEW * ((took_ms - self._fixed_ms) / rows - self._row_ms)
