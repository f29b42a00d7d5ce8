"""Reasons of reviewed and declined rows, within what a batch can spare; what goes without them is named.

An explanation is worth less than the decision it belongs to, and the whole batch leaves together: approved transactions wait
for the reasons of the others no longer than ``decision.deadline`` allows. What a row costs is measured when a model is warmed,
so that its first explanation is one that the batch can afford. A model that explains a row within ``AT_ONCE_MS``, as compiled
ones do, explains on the batch's own thread. A slower one explains on a thread that the batch can leave behind.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.decision import Reason
from models.scoring.scorer import ReasonRow, Scorer
from services.scoring.decision.deadline import AT_ONCE_MS, STREAM, ExplanationShare
from services.scoring.decision.timed_calls import TimedCalls

logger = logging.getLogger(__name__)

#: what a row is taken to cost is less each time that none could be afforded, or nothing would ever be learnt again
FORGET = 0.9
#: an explanation counts as at most so many times what was expected: whoever measures while the machine stands still has measured
#: the machine. Costs that stay high are believed within ten batches
SURPRISE = 2.0


@dataclass
class ExplanationCost:
    """What explaining costs, ms: for any rows and for each, a moving mean, so that a batch knows how many it can afford."""

    row_ms: float = 0.1
    fixed_ms: float = 0.0
    #: what they may take of a batch's time left
    share: ExplanationShare = STREAM
    #: whether a row takes so little that it is explained at once, by the measure of warming
    at_once: bool = True
    #: the version that it holds for
    _version: str = ""

    def begin(self, scorer: Scorer) -> None:
        """From here on it is what a row of this model costs: as measured when it was warmed, until more is learnt."""
        if scorer.version != self._version:
            self._version = scorer.version
            if scorer.explanation_ms is not None:
                self.fixed_ms, self.row_ms = scorer.explanation_ms
                self.at_once = self.of(1) <= AT_ONCE_MS

    def of(self, rows: int) -> float:
        """What so many rows are expected to take together, ms."""
        return self.fixed_ms + rows * self.row_ms if rows else 0.0

    def fitting(self, left_ms: float) -> int:
        """Rows that fit into the time left, keeping the reserve."""
        return max(0, int((self.share.spare_ms(left_ms) - self.fixed_ms) / max(self.row_ms, 0.001)))

    def affordable(self, left_ms: float) -> int:
        """As ``fitting``, for a batch that then explains them; where none fit, they are taken to cost less next time."""
        rows = self.fitting(left_ms)
        if not rows and self.share.spare_ms(left_ms) > 0:
            self.row_ms *= FORGET
            self.fixed_ms *= FORGET
        return rows

    def learn(self, rows: int, took_ms: float) -> None:
        """A batch of so many rows has taken so long."""
        took_ms = min(took_ms, SURPRISE * self.of(rows))
        # a bundle is warmed beside traffic, and the machine may have been busy
        self.fixed_ms = min(self.fixed_ms, took_ms)
        self.row_ms = 0.8 * self.row_ms + 0.2 * max(0.0, took_ms - self.fixed_ms) / rows


def explain_within(
    scorer: Scorer,
    matrix: npt.NDArray[np.float32],
    wanted: list[int],
    cost: ExplanationCost,
    calls: TimedCalls,
    left_ms: float,
) -> dict[int, list[Reason]]:
    """Reasons, by row, of as many of the ``wanted`` rows as the time left allows."""
    cost.begin(scorer)
    chosen = wanted[: cost.affordable(left_ms)]
    if not chosen:
        return {}

    def explain() -> list[list[ReasonRow]]:
        started = time.perf_counter()
        explained = scorer.explain(matrix[chosen])
        cost.learn(len(chosen), (time.perf_counter() - started) * 1000)
        return explained

    try:
        explained = explain() if cost.at_once else calls.call(explain, cost.share.wait_s(left_ms))
    except TimeoutError as error:
        logger.warning("bundle %s explains nothing of %d rows: %s", scorer.version, len(chosen), error)
        return {}
    except Exception:  # the decision goes out without reasons, and says so
        logger.exception("bundle %s failed to explain", scorer.version)
        return {}
    return {
        i: [Reason(code, text, round(contribution, 4)) for code, text, contribution in row]
        for i, row in zip(chosen, explained, strict=True)
    }
