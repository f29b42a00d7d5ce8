"""A policy in executable form: from scores, features and fields of a batch to decisions and the names of matched rules.

Precedence: a block list declines; else an allow list approves; else the strictest of score, rules and watch lists decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.policy.lists import ActiveList
from models.policy.reasons import PolicyReasons
from models.policy.rules.columns import Batch, Columns, FieldUnknown, Mask
from models.policy.rules.rule import ActiveRule
from models.policy.thresholds import APPROVE, DECLINE, REVIEW, Codes, ScoreDecision

logger = logging.getLogger(__name__)
#: called with the name of a rule or list that failed and was skipped, and the error
Failed = Callable[[str, Exception], None]


def log_failure(name: str, error: Exception) -> None:
    """Log a failed rule; for callers that do not count failures."""
    logger.error("rule %s failed and is skipped: %s: %s", name, type(error).__name__, error)


class Verdict(NamedTuple):
    """Decisions of a batch: ``codes`` int8 (n,), the names of what matched each row, and what the scores alone would decide."""

    codes: Codes
    matched: list[list[str]]
    by_score: Codes


class Evaluation:
    """Keeps no state between batches; safe to share between threads."""

    def __init__(
        self, by_score: ScoreDecision, without_score: int, rules: list[ActiveRule], lists: list[ActiveList],
        reasons: PolicyReasons,
    ) -> None:  # fmt: skip
        self.reasons = reasons
        self.by_score = by_score
        self._without_score = without_score
        self._rules = rules
        # the strongest kind is applied last
        self._lists = [found for kind in ("watch", "allow", "block") for found in lists if found.kind == kind]

    def decide(
        self, scores: npt.NDArray[np.float32], matrix: npt.NDArray[np.float32] | None, columns: Columns | None,
        now_ms: float, failed: Failed,
    ) -> Verdict:  # fmt: skip
        """See ``Policy.verdict``."""
        batch = Batch(scores, matrix, columns)
        codes = self._score_decisions(batch, failed)
        codes[np.isnan(scores)] = self._without_score
        matched: list[list[str]] = [[] for _ in range(batch.rows)]
        if not batch.rows or (matrix is None and columns is None):
            return Verdict(codes, matched, codes)
        by_score = codes.copy()
        if self._rules:
            with np.errstate(all="ignore"):
                self._apply_rules(batch, codes, matched, now_ms, failed)
        for found in self._lists:
            rows = self._rows(found.name, lambda found=found: found.match(batch, now_ms), batch, failed)  # type: ignore[misc]
            if rows is None:
                continue
            if found.kind == "watch":
                codes[rows] = np.maximum(codes[rows], REVIEW)
            else:
                codes[rows] = APPROVE if found.kind == "allow" else DECLINE
            for row in rows.tolist():
                matched[row].append(found.name)
        return Verdict(codes, matched, by_score)

    def _score_decisions(self, batch: Batch, failed: Failed) -> Codes:
        if self.by_score.plain:
            return self.by_score.by_default(batch.scores)
        try:
            return self.by_score.decide(batch)
        except FieldUnknown:
            # only features are known (as in a model's evaluation): the policy's own two thresholds are used for all rows
            return self.by_score.by_default(batch.scores)
        except Exception as error:  # noqa: BLE001 - counted as a failed rule: the two thresholds can always decide
            failed("thresholds", error)
            return self.by_score.by_default(batch.scores)

    def _apply_rules(
        self, batch: Batch, codes: Codes, matched: list[list[str]], now_ms: float, failed: Failed
    ) -> None:
        for rule in self._rules:
            if now_ms >= rule.expires_ms:
                continue
            rows = self._rows(rule.name, lambda rule=rule: rule.match(batch), batch, failed)  # type: ignore[misc]
            if rows is None:
                continue
            codes[rows] = np.maximum(codes[rows], rule.code)
            for row in rows.tolist():
                matched[row].append(rule.name)

    @staticmethod
    def _rows(
        name: str, match: Callable[[], Mask], batch: Batch, failed: Failed
    ) -> npt.NDArray[np.intp] | None:
        """The row numbers that match; None if there are none or the rule failed."""
        try:
            hit = match()
            return np.flatnonzero(hit) if np.count_nonzero(hit) else None
        except FieldUnknown as error:
            if batch.columns is not None:
                failed(name, error)
        except Exception as error:  # noqa: BLE001 - a failing rule is skipped and reported, never fatal
            failed(name, error)
        return None
