"""Decides a batch with two models: each row by the arm of its card, and with the challenger in the shadow beside the champion.

While there is no challenger, everything goes to the champion's decider. If the challenger fails in its own rows, the champion decides
them, and the decision says so by its ``arm``. A slow challenger works on another thread: its own rows wait for it a moment, those in the
shadow not at all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.decision import Decision
from services.scoring.arms.challenger_cost import ChallengerCost
from services.scoring.arms.shadow import Shadow
from services.scoring.decision.deadline import CHALLENGER_WITHIN_S, shadow_share_ms
from services.scoring.decision.decider import Case, Decider, Judged, missing_inputs_of, shortest_left_ms
from services.scoring.decision.explanations import ExplanationCost
from services.scoring.decision.timed_calls import TimedCalls
from services.scoring.model.serving import Challenger, Serving
from streams.log.other_catalogues import OtherCatalogue
from streams.runtime.log_throttle import THROTTLED
from streams.runtime.metrics import CHALLENGER_ROWS

logger = logging.getLogger(f"{THROTTLED}.arms")
FloatArray = npt.NDArray[np.float32]


class Part(NamedTuple):
    """Rows of a batch that one arm decides. ``rows``: their indexes in the batch."""

    decider: Decider
    rows: Sequence[int]
    judged: Judged
    others: OtherCatalogue
    #: whom to ask beside it
    shadow: Challenger | None = None


class ArmsJudged(NamedTuple):
    """A batch of n cases, judged by its arms; together the parts have every row once."""

    cases: Sequence[Case]
    parts: Sequence[Part]


@dataclass
class ArmsDecider:
    """A decider for each arm, with what is served passed to each call. ``shadow`` None: nothing is scored in the shadow."""

    champion: Decider = field(default_factory=Decider)
    shadow: Shadow | None = None
    calls: TimedCalls = field(default_factory=TimedCalls)
    cost: ChallengerCost = field(default_factory=ChallengerCost)
    challenger: Decider = field(init=False)

    def __post_init__(self) -> None:
        one = self.champion
        # costs of explanations are learnt for each model
        cost = ExplanationCost(share=one.cost.share)
        # both arms draw from one purse
        self.challenger = Decider(
            "challenger", one.clock, cost, one.failures, strict=True, explorer=one.explorer
        )

    def decide(
        self,
        cases: Sequence[Case],
        matrix: FloatArray,
        serving: Serving,
        other_catalogue: OtherCatalogue | None = None,
    ) -> list[Decision]:
        """As ``Decider.decide``."""
        if serving.challenger is None:
            return self.champion.decide(cases, matrix, serving.champion, other_catalogue)
        return self.finish(self.judge(cases, matrix, serving, other_catalogue))

    def judge(
        self,
        cases: Sequence[Case],
        matrix: FloatArray,
        serving: Serving,
        other_catalogue: OtherCatalogue | None = None,
    ) -> ArmsJudged:
        """As ``Decider.judge``."""
        challenger, others = serving.challenger, other_catalogue or {}
        rows = _rows_of(challenger, cases, others) if challenger is not None else []
        shadow = (
            challenger if challenger is not None and challenger.shadow and self.shadow is not None else None
        )
        if challenger is None or not rows:
            judged = self.champion.judge(cases, matrix, serving.champion, others)
            return ArmsJudged(cases, [Part(self.champion, range(len(cases)), judged, others, shadow)])
        parts = []
        mine = set(rows)
        rest = [row for row in range(len(cases)) if row not in mine]
        if rest:
            cut = _cut(rest, cases, matrix, others)
            judged = self.champion.judge(cut.cases, cut.matrix, serving.champion, cut.others)
            parts.append(Part(self.champion, rest, judged, cut.others, shadow))
        parts.append(self._judge_challengers(rows, _cut(rows, cases, matrix, others), serving, challenger))
        return ArmsJudged(cases, parts)

    def explanation_ms(self, judged: ArmsJudged) -> float:
        """Time that ``finish`` is expected to spend on reasons, ms."""
        return sum(part.decider.explanation_ms(part.judged) for part in judged.parts)

    def finish(self, judged: ArmsJudged) -> list[Decision]:
        """The decisions, with as many reasons as time allows, and then with the challenger's scores if there is time for them."""
        if len(judged.parts) == 1 and judged.parts[0].shadow is None:
            return judged.parts[0].decider.finish(judged.parts[0].judged)
        explained = [part.decider.explain(part.judged) for part in judged.parts]
        shadows = [self._shadow_scores(part) for part in judged.parts]
        found: dict[int, Decision] = {}
        for part, reasons, scores in zip(judged.parts, explained, shadows, strict=True):
            decisions = part.decider.decisions(part.judged, reasons)
            if scores is not None and part.shadow is not None:
                _add_shadow(decisions, part.shadow.scorer.version, scores)
            found.update(zip(part.rows, decisions, strict=True))
        return [found[row] for row in range(len(judged.cases))]

    def _shadow_scores(self, part: Part) -> FloatArray | None:
        """The challenger's scores beside the champion's part; None where it is slow, failed, or there is no time: see ``Shadow``."""
        if part.shadow is None or self.shadow is None:
            return None
        champion, challenger = part.judged, part.shadow
        self.cost.begin(challenger.scorer)
        left = shortest_left_ms(
            champion.cases, self.champion.clock() * 1000, self.champion.cost.share.reserve_ms
        )
        if not self.cost.quick or self.cost.of(len(champion.cases)) > shadow_share_ms(left):
            self.shadow.score_aside(champion, challenger, part.others)
            return None
        judged: Judged | None = None
        try:
            judged = self._measured(challenger, _Cut(champion.cases, champion.matrix, part.others))
        except Exception as error:  # noqa: BLE001 - a challenger may fail in any way: it is counted, and ends nothing
            logger.error("the challenger %s failed in the shadow: %r", challenger.scorer.version, error)
        self.shadow.add(champion, challenger, judged)
        return judged.scores if judged is not None else None

    def _measured(self, challenger: Challenger, cut: _Cut) -> Judged:
        """What the challenger makes of rows. Raises: Exception, whatever its model raises."""
        started = time.perf_counter()
        try:
            return self.challenger.judge(cut.cases, cut.matrix, challenger.scorer, cut.others)
        finally:
            self.cost.learn(len(cut.cases), (time.perf_counter() - started) * 1000)

    def _judge_challengers(
        self, rows: Sequence[int], cut: _Cut, serving: Serving, challenger: Challenger
    ) -> Part:
        """The part of the challenger's rows; the champion judges it if the challenger fails, or is not ready in time."""
        scorer, result = challenger.scorer, "failed"
        self.cost.begin(scorer)
        try:
            if self.cost.quick:
                judged = self._measured(challenger, cut)
            else:
                judged = self.calls.call(lambda: self._measured(challenger, cut), CHALLENGER_WITHIN_S)
        except TimeoutError as error:
            result = "late"
            logger.error("the challenger %s is too slow, the champion decides: %s", scorer.version, error)
        except Exception as error:  # noqa: BLE001 - a challenger may fail in any way: the champion decides, and it is counted
            logger.error("the challenger %s failed, the champion decides: %r", scorer.version, error)
        else:
            CHALLENGER_ROWS.labels("arm", "scored").inc(len(rows))
            return Part(self.challenger, rows, judged, cut.others)
        CHALLENGER_ROWS.labels("arm", result).inc(len(rows))
        judged = self.champion.judge(cut.cases, cut.matrix, serving.champion, cut.others)
        return Part(self.champion, rows, judged, cut.others)


class _Cut(NamedTuple):
    """Some rows of a batch."""

    cases: Sequence[Case]
    matrix: FloatArray
    others: OtherCatalogue


def _cut(rows: Sequence[int], cases: Sequence[Case], matrix: FloatArray, others: OtherCatalogue) -> _Cut:
    if len(rows) == len(cases):
        return _Cut(cases, matrix, others)
    moved = {place: others[row] for place, row in enumerate(rows) if row in others} if others else {}
    return _Cut([cases[row] for row in rows], matrix[list(rows)], moved)


def _rows_of(challenger: Challenger, cases: Sequence[Case], others: OtherCatalogue) -> list[int]:
    """The challenger's rows, without those whose catalogue lacks a feature that it reads: the champion decides these."""
    rows = challenger.rows_of(
        [case.transaction.card_id for case in cases], [case.received_ms for case in cases]
    )
    if not rows or not others:
        return rows
    missing = missing_inputs_of(others, challenger.scorer)
    kept = [row for row in rows if missing.get(row) != "model"]
    if len(kept) < len(rows):
        CHALLENGER_ROWS.labels("arm", "unfit").inc(len(rows) - len(kept))
    return kept


def _add_shadow(decisions: Sequence[Decision], version: str, scores: FloatArray) -> None:
    """Set the challenger's scores where it has one."""
    for decision, score in zip(decisions, scores.tolist(), strict=True):
        if score == score:
            decision.shadow = {version: round(score, 6)}
