"""Reasons of reviewed and declined rows, within the time that a batch has left; returns which rows got none.

A batch is sent as a whole, so approved transactions wait for the reasons of the others, but no longer than
``decision.deadline`` allows. The cost per row is measured when a model is warmed, so even its first explanations fit the time.
A model that explains a row within ``AT_ONCE_MS`` (every compiled one) runs on the batch's own thread. A slower one runs on
another thread, which the batch can stop waiting for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.decision import Reason
from models.scoring.scorer import Scorer
from models.scoring.words import ReasonRow
from services.scoring.decision.deadline import AT_ONCE_MS, STREAM, ExplanationShare
from services.scoring.decision.timed_calls import TimedCalls

logger = logging.getLogger(__name__)

#: factor on the expected cost each time that no row fits: otherwise no explanation would ever run, and the cost never be measured again
FORGET = 0.9
#: a measurement counts as at most this many times the expected cost, because a stall of the machine says nothing about
#: the model. The expectation follows costs that stay high within ten batches
SURPRISE = 2.0


@dataclass
class ExplanationCost:
    """Expected cost of explanations, ms: a fixed part and a moving mean per row; tells how many rows a batch can explain."""

    row_ms: float = 0.1
    fixed_ms: float = 0.0
    #: the part of a batch's time left that they may take
    share: ExplanationShare = STREAM
    #: whether a row costs at most AT_ONCE_MS, as measured at warming, so that it is explained on the batch's own thread
    at_once: bool = True
    #: the model version measured
    _version: str = ""

    def begin(self, scorer: Scorer) -> None:
        """Switch to this model: start from the cost measured when it was warmed."""
        if scorer.version != self._version:
            self._version = scorer.version
            if scorer.explanation_ms is not None:
                self.fixed_ms, self.row_ms = scorer.explanation_ms
                self.at_once = self.of(1) <= AT_ONCE_MS

    def of(self, rows: int) -> float:
        """Expected cost of explaining ``rows`` rows together, ms."""
        return self.fixed_ms + rows * self.row_ms if rows else 0.0

    def fitting(self, left_ms: float) -> int:
        """How many rows fit into the time left, keeping the reserve."""
        return max(0, int((self.share.spare_ms(left_ms) - self.fixed_ms) / max(self.row_ms, 0.001)))

    def affordable(self, left_ms: float) -> int:
        """As ``fitting``, for a batch that will explain them. When no row fits, lowers the expected cost (FORGET)."""
        rows = self.fitting(left_ms)
        if not rows and self.share.spare_ms(left_ms) > 0:
            self.row_ms *= FORGET
            self.fixed_ms *= FORGET
        return rows

    def learn(self, rows: int, took_ms: float) -> None:
        """Update the expected cost with a measurement: ``rows`` rows took ``took_ms``."""
        took_ms = min(took_ms, SURPRISE * self.of(rows))
        # the fixed cost measured at warming may be too high, because traffic ran at the same time
        self.fixed_ms = min(self.fixed_ms, took_ms)
        self.row_ms = 0.8 * self.row_ms + 0.2 * max(0.0, took_ms - self.fixed_ms) / rows


def explain_within(
    scorer: Scorer,
    matrix: npt.NDArray[np.float32],
    wanted: list[int],
    currencies: Sequence[str],
    cost: ExplanationCost,
    calls: TimedCalls,
    left_ms: float,
) -> dict[int, list[Reason]]:
    """Explain as many of the ``wanted`` rows as the time left allows: reasons by row. ``currencies``: of the wanted rows' payments."""
    cost.begin(scorer)
    chosen = wanted[: cost.affordable(left_ms)]
    if not chosen:
        return {}

    def explain() -> list[list[ReasonRow]]:
        started = time.perf_counter()
        explained = scorer.explain(matrix[chosen], currencies=currencies[: len(chosen)])
        cost.learn(len(chosen), (time.perf_counter() - started) * 1000)
        return explained

    try:
        explained = explain() if cost.at_once else calls.call(explain, cost.share.wait_s(left_ms))
    except TimeoutError as error:
        logger.warning("bundle %s did not explain %d rows in time: %s", scorer.version, len(chosen), error)
        return {}
    except Exception:  # the decisions go out without reasons, marked `explanations`
        logger.exception("bundle %s failed to explain", scorer.version)
        return {}
    return {
        i: [Reason(code, text, round(contribution, 4)) for code, text, contribution in row]
        for i, row in zip(chosen, explained, strict=True)
    }
