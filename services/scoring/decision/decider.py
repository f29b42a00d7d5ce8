"""From features to decisions: one bundle, one batch, no Kafka and no HTTP. Used by the stream and by the HTTP edge.

A decision is ``scored`` when everything it wanted was there, ``degraded`` when something was missing or left out
(``degraded_by`` says what): reasons, entities' features, entries that rules read and the record's catalogue has not, or the
score itself, where no entity's features could be read or a model fails on a batch: then the bundle's rules speak alone. It is ``not_scored`` when there is no
bundle, or the record's catalogue has not all that the model reads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE_HASH, INDEX
from features.transaction import Transaction, from_ms
from models.bundle.content import MODEL
from models.decision import Decision, Reason
from models.policy.policy import DECISIONS, FALLBACK, Policy
from models.scoring.scorer import Scorer
from services.scoring.decision.deadline import left_ms
from services.scoring.decision.explanations import ExplanationCost, explain_within
from services.scoring.decision.rule_failures import RuleFailures
from services.scoring.decision.timed_calls import TimedCalls
from streams.log.missing_inputs import present
from streams.log.other_catalogues import Known, OtherCatalogue, has_all
from streams.log.records import (
    MISSING_CARD,
    MISSING_CUSTOMER,
    MISSING_DEVICE,
    MISSING_IP,
    MISSING_MERCHANT,
)
from streams.runtime.metrics import MODEL_FAILURES

logger = logging.getLogger(__name__)

MISSING_NAMES = (
    (MISSING_CARD, "card_features"), (MISSING_MERCHANT, "merchant_features"), (MISSING_DEVICE, "device_features"),
    (MISSING_IP, "ip_features"), (MISSING_CUSTOMER, "customer_features"),
)  # fmt: skip


Status = Literal["scored", "degraded", "not_scored"]


class Case(NamedTuple):
    """One transaction to decide: what is known of it beside its row of features. Times in ms since 1970.

    ``catalogue`` is the one that its features were made with, whatever this code's is.
    """

    transaction: Transaction
    event_ms: int
    received_ms: int
    deadline_ms: int
    missing: int = 0
    catalogue: str = CATALOGUE_HASH


class CaseColumns:
    """The cases' transactions by field, each made when a policy names it."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases

    def column(self, name: str) -> list[Any]:
        """Values of one field, None where a transaction lacks it."""
        return list(map(attrgetter("transaction." + name), self._cases))


class _Moments:
    """Times of one batch as decisions carry them: many of its records were appended in the same millisecond."""

    def __init__(self, now_ms: float) -> None:
        self.now = from_ms(int(now_ms))
        self._now_ms = now_ms
        self._known: dict[int, tuple[datetime, float]] = {}

    def of(self, received_ms: int) -> tuple[datetime, float]:
        """A time of receipt (ms), and how long ago that is in ms."""
        known = self._known.get(received_ms)
        if known is None:
            latency_ms = round(max(0.0, self._now_ms - received_ms), 2)
            known = self._known[received_ms] = from_ms(received_ms), latency_ms
        return known


class Judged(NamedTuple):
    """A batch of n cases that is decided but for its reasons."""

    cases: Sequence[Case]
    matrix: npt.NDArray[np.float32]
    scorer: Scorer | None
    policy: Policy
    #: float32 (n,), NaN where there is none; int8 (n,), see ``models.policy.policy.DECISIONS``
    scores: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int8]
    rules: Sequence[list[str]]
    #: rows that are to be explained
    wanted: list[int]
    #: see ``_lacking`` and ``_bare``
    lacking: Mapping[int, Literal["model", "rules"]]
    bare: set[int]

    def to_explain(self, now_ms: float, reserve_ms: float) -> tuple[list[int], float]:
        """The rows that there is time to explain, and the least time left, ms, of those that are not late.

        The batch leaves together. A row with no more than ``reserve_ms`` left goes without reasons itself; it does not take them from the
        others, whose reasons cost it less than they cost anybody who reviews them.
        """
        left = [left_ms(case.deadline_ms, case.received_ms, now_ms) for case in self.cases]
        rows = [row for row in self.wanted if left[row] > reserve_ms]
        return rows, min((each for each in left if each > reserve_ms), default=0.0)


@dataclass
class Decider:
    """Turns batches into decisions with the scorer that is live at the moment of the call.

    ``clock`` gives seconds since 1970. It is read again wherever time has passed, so that a decision carries the time at which it
    is handed over, and what is left of a deadline is left now.
    """

    arm: str = "champion"
    clock: Callable[[], float] = time.time
    cost: ExplanationCost = field(default_factory=ExplanationCost)
    failures: RuleFailures = field(default_factory=RuleFailures)
    calls: TimedCalls = field(default_factory=TimedCalls)

    def __post_init__(self) -> None:
        # made ready now: the first decision without a model must not wait for it
        _ = FALLBACK.evaluation

    def decide(
        self,
        cases: Sequence[Case],
        matrix: npt.NDArray[np.float32],
        scorer: Scorer | None,
        other_catalogue: OtherCatalogue | None = None,
    ) -> list[Decision]:
        """Decide a batch wholly with one scorer: ``judge``, then ``finish``."""
        return self.finish(self.judge(cases, matrix, scorer, other_catalogue))

    def judge(
        self,
        cases: Sequence[Case],
        matrix: npt.NDArray[np.float32],
        scorer: Scorer | None,
        other_catalogue: OtherCatalogue | None = None,
    ) -> Judged:
        """Score a batch and apply the policy: everything but reasons.

        Args:
            cases: n transactions.
            matrix: float32 (n, WIDTH), their features in this code's catalogue order.
            scorer: None while there is no bundle.
            other_catalogue: which rows are of other catalogues, and what is known of them (``streams.log.other_catalogues.aligned_rows``).
        """
        lacking = _lacking(other_catalogue, scorer) if other_catalogue else {}
        scores = np.full(len(cases), np.nan, dtype=np.float32)
        bare: set[int] = set()
        if scorer is not None:
            try:
                scores = scorer.score(matrix)
                bare = _bare(cases)
            except Exception:  # a model that fails must not silence decisions: its bundle's rules speak
                MODEL_FAILURES.inc()
                logger.exception("bundle %s failed to score %d rows", scorer.version, len(cases))
        unfit = [*bare, *(row for row, what in lacking.items() if what == "model")]
        if unfit:
            # a model that misses what it learnt from says nothing; rules go on, they know what is unknown
            scores = scores.copy()
            scores[unfit] = np.nan
        policy = scorer.policy if scorer is not None else FALLBACK
        codes, rules = policy.decide(scores, matrix, CaseColumns(cases), self.clock() * 1000, self.failures)
        wanted = np.flatnonzero((codes > 0) & ~np.isnan(scores)).tolist() if scorer is not None else []
        return Judged(cases, matrix, scorer, policy, scores, codes, rules, wanted, lacking, bare)

    def explanation_ms(self, judged: Judged) -> float:
        """What ``finish`` is expected to spend on reasons, ms."""
        if not judged.wanted or judged.scorer is None:
            return 0.0
        self.cost.begin(judged.scorer)
        rows, left = judged.to_explain(self.clock() * 1000, self.cost.share.reserve_ms)
        return self.cost.of(min(len(rows), self.cost.fitting(left)))

    def finish(self, judged: Judged) -> list[Decision]:
        """The decisions, with as many reasons as time allows."""
        cases, matrix, scorer, policy, scores, codes, rules, wanted, lacking, bare = judged
        reasons: dict[int, list[Reason]] = {}
        unexplained: set[int] = set()
        if wanted and scorer is not None:
            rows, left = judged.to_explain(self.clock() * 1000, self.cost.share.reserve_ms)
            reasons = explain_within(scorer, matrix, rows, self.cost, self.calls, left)
            unexplained = set(wanted) - reasons.keys()
        whole = scorer is not None and not lacking
        # everything that takes time is done; what follows is encoding and the hand-over to the broker
        moments = _Moments(self.clock() * 1000)
        version = scorer.version if scorer is not None else "none"
        out = []
        for i, (case, code, score, found) in enumerate(
            zip(cases, codes.tolist(), scores.tolist(), rules, strict=True)
        ):
            status: Status = "scored"
            degraded_by: list[str] = []
            # as nearly all are: nothing is missing, nothing failed
            if not (whole and not case.missing and score == score and i not in unexplained):
                status, degraded_by = _degradation(
                    case,
                    lacking.get(i),
                    scorer,
                    failed=score != score and i not in bare,
                    unexplained=i in unexplained,
                )
            tx = case.transaction
            received_at, latency_ms = moments.of(case.received_ms)
            out.append(
                Decision(
                    transaction_id=tx.transaction_id, decision=DECISIONS[code], status=status,
                    score=round(score, 6) if score == score else None, reasons=reasons.get(i, []), model=MODEL,
                    model_version=version, policy_version=policy.version, features_version=case.catalogue, arm=self.arm,
                    shadow={}, rules=found, event_time=tx.event_time, received_at=received_at, decided_at=moments.now,
                    latency_ms=latency_ms, card_id=tx.card_id, tenant=tx.tenant, degraded_by=degraded_by,
                )
            )  # fmt: skip
        return out


def _degradation(
    case: Case,
    lacks: Literal["model", "rules"] | None,
    scorer: Scorer | None,
    *,
    failed: bool,
    unexplained: bool,
) -> tuple[Status, list[str]]:
    """How well founded a decision is, and what it went without."""
    degraded_by = [name for bit, name in MISSING_NAMES if case.missing & bit]
    status: Status = "scored"
    if lacks is not None:
        degraded_by.append("catalogue")
    if scorer is None or lacks == "model":
        status = "not_scored"
        if lacks is None:
            degraded_by.append("model")
    elif failed:
        degraded_by.append("model_failed")
    elif unexplained:
        degraded_by.append("explanations")
    return "degraded" if degraded_by and status == "scored" else status, degraded_by


def _bare(cases: Sequence[Case]) -> set[int]:
    """Rows of which nothing but the transaction is known: no model has learnt from such, a new card's are not unknown."""
    return {
        row
        for row, case in enumerate(cases)
        if case.missing and not present(case.transaction) & ~case.missing
    }


def _lacking(
    other_catalogue: Mapping[int, Known | None], scorer: Scorer | None
) -> dict[int, Literal["model", "rules"]]:
    """Which rows of other catalogues lack entries that the model or, short of that, only its policy's rules read."""
    needed = np.zeros(len(INDEX), bool)
    named = np.zeros(len(INDEX), bool)
    if scorer is not None:
        needed[scorer.columns] = True
        named[[INDEX[name] for name in scorer.policy.features]] = True
    # one answer for each catalogue: its rows share what is known of them
    answers: dict[int, Literal["model", "rules"] | None] = {}
    out: dict[int, Literal["model", "rules"]] = {}
    for row, known in other_catalogue.items():
        if id(known) not in answers:
            answers[id(known)] = (
                "model" if not has_all(known, needed) else None if has_all(known, named) else "rules"
            )
        lacks = answers[id(known)]
        if lacks is not None:
            out[row] = lacks
    return out
