"""Turns a batch of features into decisions with one bundle; knows no Kafka and no HTTP. Used by the stream and by the HTTP edge.

Status of a decision:

- ``scored``: nothing was missing.
- ``degraded``: something was missing or left out, and ``degraded_by`` names it: reasons, features of entities, features that rules
  read but the record's catalogue lacks, or the score. Without a score (no entity's features could be read, or the model failed)
  only the bundle's rules decide.
- ``not_scored``: there is no bundle, or the record's catalogue lacks a feature that the model reads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from features.attributes import attribute_named
from features.catalogue import CATALOGUE_HASH, INDEX
from features.transaction import Transaction, from_ms
from models.bundle.attribute_columns import SentAttributes
from models.bundle.content import MODEL
from models.decision import Decision, Reason
from models.policy.exploration import Drawn, Explorer, explored
from models.policy.policy import CODES, DECISIONS, FALLBACK, Policy
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
from streams.runtime.metrics import EXPLORED, MODEL_FAILURES

logger = logging.getLogger(__name__)

MISSING_NAMES = (
    (MISSING_CARD, "card_features"), (MISSING_MERCHANT, "merchant_features"), (MISSING_DEVICE, "device_features"),
    (MISSING_IP, "ip_features"), (MISSING_CUSTOMER, "customer_features"),
)  # fmt: skip


Codes = npt.NDArray[np.int8]
Status = Literal["scored", "degraded", "not_scored"]


class Case(NamedTuple):
    """One transaction to decide, with everything but its row of features. Times in ms since 1970.

    ``catalogue``: hash of the catalogue that its features were made with, which may differ from this code's.
    """

    transaction: Transaction
    event_ms: int
    received_ms: int
    deadline_ms: int
    missing: int = 0
    catalogue: str = CATALOGUE_HASH


class CaseColumns:
    """The transactions' fields as columns, each built when a policy reads it."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases

    def column(self, name: str) -> Sequence[Any]:
        """Values of one field or attribute (``attributes.NAME``), None where a transaction lacks it."""
        if attribute_named(name) is not None:
            return self._sent.column(name)
        return list(map(attrgetter("transaction." + name), self._cases))

    @cached_property
    def _sent(self) -> SentAttributes:
        return SentAttributes([case.transaction.attributes for case in self._cases])


class _Moments:
    """Converted times of one batch, cached: many of its records were appended in the same millisecond."""

    def __init__(self, now_ms: float) -> None:
        self.now = from_ms(int(now_ms))
        self._now_ms = now_ms
        self._known: dict[int, tuple[datetime, float]] = {}

    def of(self, received_ms: int) -> tuple[datetime, float]:
        """The time of receipt as a datetime, and the latency since then, ms. ``received_ms``: since 1970."""
        known = self._known.get(received_ms)
        if known is None:
            latency_ms = round(max(0.0, self._now_ms - received_ms), 2)
            known = self._known[received_ms] = from_ms(received_ms), latency_ms
        return known


class Reasons(NamedTuple):
    """The model's reasons by row, and the rows that should have some and got none."""

    of: dict[int, list[Reason]]
    unexplained: set[int]


class Judged(NamedTuple):
    """A batch of n cases with scores and decisions, still without reasons."""

    cases: Sequence[Case]
    matrix: npt.NDArray[np.float32]
    scorer: Scorer | None
    policy: Policy
    #: float32 (n,), NaN without a score; int8 (n,), index into ``models.policy.policy.DECISIONS``
    scores: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int8]
    rules: Sequence[list[str]]
    #: rows whose score alone gives the same decision
    by_score: npt.NDArray[np.bool_]
    #: the time that the policy compared expiries with, ms since 1970
    now_ms: float
    #: rows to explain: those of ``by_score`` that have a score and are not approved
    wanted: list[int]
    #: see ``missing_inputs_of`` and ``_stateless``
    missing_inputs: Mapping[int, Literal["model", "rules"]]
    stateless: set[int]
    #: rows that the score declines and that exploration drew for; ``codes`` are the policy's all the same
    drawn: Mapping[int, Drawn]

    def to_explain(self, now_ms: float, reserve_ms: float) -> tuple[list[int], float]:
        """The rows to explain that are not late, and the shortest time left among all rows that are not late, ms. ``now_ms``: since 1970.

        The batch is sent as a whole. A row with at most ``reserve_ms`` left gets no reasons itself, but does not stop those of the other
        rows: waiting for them delays it by a few milliseconds at most.
        """
        left = [left_ms(case.deadline_ms, case.received_ms, now_ms) for case in self.cases]
        rows = [row for row in self.wanted if left[row] > reserve_ms]
        return rows, _shortest(left, reserve_ms)


def shortest_left_ms(cases: Sequence[Case], now_ms: float, reserve_ms: float) -> float:
    """The shortest time left of the cases with more than ``reserve_ms`` left, ms; 0 if there are none. ``now_ms``: since 1970."""
    return _shortest([left_ms(case.deadline_ms, case.received_ms, now_ms) for case in cases], reserve_ms)


def _shortest(left: Sequence[float], reserve_ms: float) -> float:
    return min((each for each in left if each > reserve_ms), default=0.0)


@dataclass
class Decider:
    """Turns batches into decisions with the scorer passed to each call.

    ``clock`` gives seconds since 1970. It is read again after each step that takes time, so that ``decided_at`` and the time left
    are current. ``strict``: an error of the model is the caller's business; else its bundle's rules decide. ``explorer``: draws for payments
    that a score declines; None: no payment is let through.
    """

    arm: str = "champion"
    clock: Callable[[], float] = time.time
    cost: ExplanationCost = field(default_factory=ExplanationCost)
    failures: RuleFailures = field(default_factory=RuleFailures)
    calls: TimedCalls = field(default_factory=TimedCalls)
    strict: bool = False
    explorer: Explorer | None = None

    def __post_init__(self) -> None:
        # compile it now: the first decision without a model must not wait for it
        _ = FALLBACK.evaluation

    def decide(
        self,
        cases: Sequence[Case],
        matrix: npt.NDArray[np.float32],
        scorer: Scorer | None,
        other_catalogue: OtherCatalogue | None = None,
    ) -> list[Decision]:
        """Decide a batch with one scorer: ``judge``, then ``finish``."""
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
            other_catalogue: rows of other catalogues, and which of their columns are known (``streams.log.other_catalogues.aligned_rows``).

        Raises:
            Exception: the model failed; only if ``strict``.
        """
        missing_inputs = missing_inputs_of(other_catalogue, scorer) if other_catalogue else {}
        columns = CaseColumns(cases)
        scores = np.full(len(cases), np.nan, dtype=np.float32)
        stateless: set[int] = set()
        if scorer is not None:
            try:
                matrix = scorer.with_attributes(matrix, columns)
                scores = scorer.score(matrix)
                stateless = _stateless(cases)
            except Exception:  # a failing model must not stop decisions: its bundle's rules decide
                if self.strict:
                    raise
                MODEL_FAILURES.inc()
                logger.exception("bundle %s failed to score %d rows", scorer.version, len(cases))
        unfit = [*stateless, *(row for row, what in missing_inputs.items() if what == "model")]
        if unfit:
            # no score without the inputs that the model was trained on; rules still run, because they handle unknown values
            scores = scores.copy()
            scores[unfit] = np.nan
        policy = scorer.policy if scorer is not None else FALLBACK
        now_ms = self.clock() * 1000
        codes, rules, alone = policy.verdict(scores, matrix, columns, now_ms, self.failures)
        by_score = codes == alone
        wanted = np.flatnonzero((codes > 0) & by_score & ~np.isnan(scores)).tolist() if scorer is not None else []  # fmt: skip
        drawn = self._explore(cases, policy, codes, alone, rules, now_ms) if self.explorer is not None else {}
        return Judged(
            cases, matrix, scorer, policy, scores, codes, rules, by_score, now_ms, wanted, missing_inputs, stateless, drawn
        )  # fmt: skip

    def _explore(
        self,
        cases: Sequence[Case],
        policy: Policy,
        codes: Codes,
        alone: Codes,
        rules: Sequence[list[str]],
        now_ms: float,
    ) -> dict[int, Drawn]:
        """Draws for the rows that only their score declines: what a person's rule or list stops stays stopped."""
        assert self.explorer is not None
        out: dict[int, Drawn] = {}
        for row in np.flatnonzero((codes == CODES["decline"]) & (alone == CODES["decline"])).tolist():
            if not policy.declining.isdisjoint(rules[row]):
                continue
            tx = cases[row].transaction
            found = self.explorer.of(tx.tenant, tx.currency, tx.amount_minor, now_ms)
            if found is not None:
                out[row] = found
                EXPLORED.labels(_result(found)).inc()
        return out

    def explanation_ms(self, judged: Judged) -> float:
        """Time that ``finish`` is expected to spend on reasons, ms."""
        if not judged.wanted or judged.scorer is None:
            return 0.0
        self.cost.begin(judged.scorer)
        rows, left = judged.to_explain(self.clock() * 1000, self.cost.share.reserve_ms)
        return self.cost.of(min(len(rows), self.cost.fitting(left)))

    def finish(self, judged: Judged) -> list[Decision]:
        """The decisions, with as many reasons as time allows: ``explain``, then ``decisions``."""
        return self.decisions(judged, self.explain(judged))

    def explain(self, judged: Judged) -> Reasons:
        """As many of the model's reasons as time allows."""
        if not judged.wanted or judged.scorer is None:
            return Reasons({}, set())
        rows, left = judged.to_explain(self.clock() * 1000, self.cost.share.reserve_ms)
        currencies = [judged.cases[row].transaction.currency for row in rows]
        reasons = explain_within(judged.scorer, judged.matrix, rows, currencies, self.cost, self.calls, left)
        return Reasons(reasons, set(judged.wanted) - reasons.keys())

    def decisions(self, judged: Judged, explained: Reasons) -> list[Decision]:
        """The decisions with these reasons and those of the policy; they are dated now."""
        (
            cases,
            _,
            scorer,
            policy,
            scores,
            codes,
            rules,
            by_score,
            now_ms,
            _,
            missing_inputs,
            stateless,
            drawn,
        ) = judged
        reasons, unexplained = explained
        whole = scorer is not None and not missing_inputs
        # all slow steps are done; only encoding and sending follow
        moments = _Moments(self.clock() * 1000)
        version = scorer.version if scorer is not None else "none"
        out = []
        for i, (case, code, score, found) in enumerate(
            zip(cases, codes.tolist(), scores.tolist(), rules, strict=True)
        ):
            status: Status = "scored"
            degraded_by: list[str] = []
            # skipped for nearly all rows: nothing is missing, nothing failed
            if not (whole and not case.missing and score == score and i not in unexplained):
                status, degraded_by = _degradation(
                    case,
                    missing_inputs.get(i),
                    scorer,
                    failed=score != score and i not in stateless,
                    unexplained=i in unexplained,
                )
                if score != score and by_score[i]:
                    reasons[i] = [_no_score(degraded_by, DECISIONS[code])]
            tx = case.transaction
            if found:
                # what decided comes first
                value_of = partial(_value_of, tx)
                reasons[i] = policy.evaluation.reasons.of(found, code, value_of, now_ms) + reasons.get(i, [])
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
        for row, draw in drawn.items():
            explored(out[row], draw)
        return out


def _result(drawn: Drawn) -> str:
    if drawn.into is not None:
        return "let through"
    return "declined" if drawn.exploration.propensity else "over the cap"


def _value_of(tx: Transaction, name: str) -> Any:
    own = attribute_named(name)
    if own is not None:
        return tx.attributes.get(own) if tx.attributes else None
    return getattr(tx, name)


def _no_score(degraded_by: list[str], decision: str) -> Reason:
    return Reason("NO_SCORE", f"no score ({', '.join(degraded_by)}): the policy then says {decision}")


def _degradation(
    case: Case,
    lacks: Literal["model", "rules"] | None,
    scorer: Scorer | None,
    *,
    failed: bool,
    unexplained: bool,
) -> tuple[Status, list[str]]:
    """A decision's status, and the names of what was missing."""
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


def _stateless(cases: Sequence[Case]) -> set[int]:
    """Rows without any entity's features. No model was trained on such rows; a new card is different, its counts are known."""
    return {
        row
        for row, case in enumerate(cases)
        if case.missing and not present(case.transaction) & ~case.missing
    }


def missing_inputs_of(
    other_catalogue: Mapping[int, Known | None], scorer: Scorer | None
) -> dict[int, Literal["model", "rules"]]:
    """Rows of other catalogues that lack features: "model" if the model reads one of them, "rules" if only the policy's rules do."""
    needed = np.zeros(len(INDEX), bool)
    named = np.zeros(len(INDEX), bool)
    if scorer is not None:
        needed[scorer.columns] = True
        named[[INDEX[name] for name in scorer.policy.features]] = True
    # computed once per catalogue: its rows share one array of known columns
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
