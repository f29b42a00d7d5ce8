"""From features to decisions: one bundle, one batch, no Kafka and no HTTP. Used by the stream and by the HTTP edge.

A decision is ``scored`` when everything it wanted was there, ``degraded`` when something was missing or left out
(``degraded_by`` says what), ``not_scored`` when no model could speak; then the fallback policy decides.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE_HASH
from models.bundle import MODEL
from models.policy import DECISIONS, FALLBACK
from models.scorer import Scorer
from streams.events import Decision, Reason, Transaction, from_ms
from streams.records import (
    MISSING_CARD,
    MISSING_CUSTOMER,
    MISSING_DEVICE,
    MISSING_IP,
    MISSING_MERCHANT,
)

logger = logging.getLogger(__name__)

MISSING_NAMES = (
    (MISSING_CARD, "card_features"), (MISSING_MERCHANT, "merchant_features"), (MISSING_DEVICE, "device_features"),
    (MISSING_IP, "ip_features"), (MISSING_CUSTOMER, "customer_features"),
)  # fmt: skip
#: explanations are made only while a decision has at least this left of its deadline
EXPLANATION_RESERVE_MS = 20.0
#: and for at most so many rows of a batch with one
MAX_EXPLAINED = 32


@dataclass(frozen=True)
class Case:
    """One transaction to decide: what is known of it beside its row of features. Times in ms since 1970."""

    transaction: Transaction
    event_ms: int
    received_ms: int
    deadline_ms: int
    missing: int = 0
    catalogue: str = CATALOGUE_HASH

    def left_ms(self, now_ms: float) -> float:
        """Time left of the deadline; infinite when there is none."""
        return self.deadline_ms - (now_ms - self.received_ms) if self.deadline_ms else float("inf")


@dataclass
class ExplanationCost:
    """What one explained row costs, ms: a moving mean, so that a batch knows how many it can afford."""

    row_ms: float = 2.0

    def affordable(self, left_ms: float) -> int:
        """Rows that fit into the time left, keeping the reserve."""
        if left_ms == float("inf"):
            return 1 << 30
        return min(MAX_EXPLAINED, max(0, int((left_ms - EXPLANATION_RESERVE_MS) / max(self.row_ms, 0.01))))

    def learn(self, rows: int, took_ms: float) -> None:
        self.row_ms = 0.8 * self.row_ms + 0.2 * took_ms / rows


@dataclass
class Decider:
    """Turns batches into decisions with the scorer that is live at the moment of the call."""

    arm: str = "champion"
    cost: ExplanationCost = field(default_factory=ExplanationCost)

    def decide(
        self, cases: Sequence[Case], matrix: npt.NDArray[np.float32], scorer: Scorer | None, now_ms: float
    ) -> list[Decision]:
        """Decide a batch wholly with one scorer.

        Args:
            cases: n transactions.
            matrix: float32 (n, WIDTH), their features in catalogue order.
            scorer: None while there is no bundle.
            now_ms: for the deadline and ``decided_at``.
        """
        fits = [case.catalogue == CATALOGUE_HASH for case in cases]
        scores = np.full(len(cases), np.nan, dtype=np.float32)
        reason_missing = "model"
        if scorer is not None:
            try:
                scores = scorer.score(matrix)
            except Exception:  # a model that fails must not silence decisions: the fallback speaks
                logger.exception("bundle %s failed to score %d rows", scorer.version, len(cases))
                scorer, reason_missing = None, "model_failed"
        if not all(fits):
            scores = np.where(np.array(fits), scores, np.nan).astype(np.float32)
        policy = scorer.policy if scorer is not None else FALLBACK
        codes, rules = policy.decide(scores, matrix)
        reasons, unexplained = self._explain(cases, matrix, scorer, codes, scores, now_ms)
        version = scorer.version if scorer is not None else "none"
        values = scores.tolist()
        out = []
        for i, case in enumerate(cases):
            degraded_by = [name for bit, name in MISSING_NAMES if case.missing & bit] if case.missing else []
            status: Literal["scored", "degraded", "not_scored"] = "scored"
            if values[i] != values[i]:
                status = "not_scored"
                degraded_by.append(reason_missing if fits[i] else "catalogue")
            elif i in unexplained:
                degraded_by.append("explanations")
            if degraded_by and status == "scored":
                status = "degraded"
            out.append(self._decision(case, status, codes[i], values[i], rules[i], reasons.get(i, []), degraded_by, version, policy.version, now_ms))  # fmt: skip
        return out

    def _explain(
        self,
        cases: Sequence[Case],
        matrix: npt.NDArray[np.float32],
        scorer: Scorer | None,
        codes: npt.NDArray[np.int8],
        scores: npt.NDArray[np.float32],
        now_ms: float,
    ) -> tuple[dict[int, list[Reason]], set[int]]:
        """Reasons of reviewed and declined rows, as many as time allows; and those that went without."""
        wanted = [int(i) for i in np.flatnonzero((codes > 0) & ~np.isnan(scores))]
        if not wanted or scorer is None:
            return {}, set()
        # the most pressing decides: the whole batch leaves together
        left = min(case.left_ms(now_ms) for case in cases)
        chosen = wanted[: self.cost.affordable(left)]
        if not chosen:
            return {}, set(wanted)
        started = time.perf_counter()
        try:
            explained = scorer.explain(matrix[chosen])
        except Exception:  # an explanation is worth less than the decision it belongs to
            logger.exception("bundle %s failed to explain", scorer.version)
            return {}, set(wanted)
        self.cost.learn(len(chosen), (time.perf_counter() - started) * 1000)
        reasons = {
            i: [Reason(code, text, round(contribution, 4)) for code, text, contribution in row]
            for i, row in zip(chosen, explained, strict=True)
        }
        return reasons, set(wanted) - set(chosen)

    def _decision(
        self,
        case: Case,
        status: Literal["scored", "degraded", "not_scored"],
        code: Any,
        score: float,
        rules: list[str],
        reasons: list[Reason],
        degraded_by: list[str],
        version: str,
        policy_version: str,
        now_ms: float,
    ) -> Decision:
        tx = case.transaction
        return Decision(
            transaction_id=tx.transaction_id,
            decision=DECISIONS[code],
            status=status,
            score=round(score, 6) if score == score else None,
            reasons=reasons,
            model=MODEL,
            model_version=version,
            policy_version=policy_version,
            features_version=CATALOGUE_HASH,
            arm=self.arm,
            shadow={},
            rules=rules,
            event_time=tx.event_time,
            received_at=from_ms(case.received_ms),
            decided_at=from_ms(int(now_ms)),
            latency_ms=round(max(0.0, now_ms - case.received_ms), 2),
            card_id=tx.card_id,
            tenant=tx.tenant,
            degraded_by=degraded_by,
        )
