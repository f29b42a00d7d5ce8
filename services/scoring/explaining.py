"""Reasons of reviewed and declined rows, within what a batch can spare; what goes without them is named.

An explanation is worth less than the decision it belongs to, and the whole batch leaves together: approved transactions
wait at most ``most_ms`` for the reasons of the others, and less when the batch is late already.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.scorer import Scorer
from streams.events import Reason

logger = logging.getLogger(__name__)

#: explanations are made only while a decision has more than this left of its deadline
EXPLANATION_RESERVE_MS = 20.0
#: and may take so long for a whole batch that has a deadline
EXPLANATIONS_MOST_MS = 5.0
#: of the time left: a worker that is behind has later batches waiting for this one
EXPLANATIONS_SHARE = 0.05
#: what a row is taken to cost is less each time that none could be afforded: one stall is no reason to explain no more
FORGET = 0.9


@dataclass
class ExplanationCost:
    """What one explained row costs, ms: a moving mean, so that a batch knows how many it can afford."""

    row_ms: float = 0.1
    #: what they may take of a batch that has a deadline
    most_ms: float = EXPLANATIONS_MOST_MS

    def affordable(self, left_ms: float) -> int:
        """Rows that fit into the time left, keeping the reserve."""
        if left_ms == float("inf"):
            return 1 << 30
        spare_ms = min(left_ms - EXPLANATION_RESERVE_MS, left_ms * EXPLANATIONS_SHARE, self.most_ms)
        rows = max(0, int(spare_ms / max(self.row_ms, 0.001)))
        if spare_ms > 0 and not rows:
            self.row_ms *= FORGET
        return rows

    def learn(self, rows: int, took_ms: float) -> None:
        self.row_ms = 0.8 * self.row_ms + 0.2 * took_ms / rows


def explain_within(
    scorer: Scorer, matrix: npt.NDArray[np.float32], wanted: list[int], cost: ExplanationCost, left_ms: float
) -> tuple[dict[int, list[Reason]], set[int]]:
    """Reasons by row of as many of the ``wanted`` rows as the time left allows; and those that went without."""
    chosen = wanted[: cost.affordable(left_ms)]
    if not chosen:
        return {}, set(wanted)
    started = time.perf_counter()
    try:
        explained = scorer.explain(matrix[chosen])
    except Exception:  # the decision goes out without reasons, and says so
        logger.exception("bundle %s failed to explain", scorer.version)
        return {}, set(wanted)
    cost.learn(len(chosen), (time.perf_counter() - started) * 1000)
    reasons = {
        i: [Reason(code, text, round(contribution, 4)) for code, text, contribution in row]
        for i, row in zip(chosen, explained, strict=True)
    }
    return reasons, set(wanted) - set(chosen)
