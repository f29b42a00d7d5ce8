"""Policy: from a score and a row of features to a decision. It is data, not code, so that it can be part of the signed bundle.

It has thresholds on the calibrated probability (by tenant and channel, or by least expected loss), rules, which can only make
a decision stricter, and lists. A row without a score (NaN) gets ``without_score``; it is never approved for lack of a score.
"""

from __future__ import annotations

import re
import time
from functools import cached_property
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX
from models.decision import CODES, DECISIONS
from models.policy.evaluation import Evaluation, Failed, Verdict, log_failure
from models.policy.lists import PolicyList, activate
from models.policy.problems import PolicyError
from models.policy.reasons import PolicyReasons
from models.policy.rules.columns import Columns
from models.policy.rules.rule import Rule, activate_rules
from models.policy.thresholds import ExpectedLoss, ScoreDecision, Threshold, check_order

_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
#: owner of the rules that training creates
TRAINER = "trainer"

__all__ = ["CODES", "DECISIONS", "FALLBACK", "Policy", "PolicyError", "Rule", "parse_policy"]


class Policy(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """Scores at or above ``decline`` are declined, at or above ``review`` reviewed, unless another part says otherwise.

    For a tenant, a channel or both, the most specific of ``thresholds`` replaces these two; where ``expected_loss`` covers the
    currency, it replaces all thresholds. Rules are applied next, lists last (allow, then block): see ``models/RULES.md``.
    """

    version: str
    review: float
    decline: float
    rules: tuple[Rule, ...] = ()
    without_score: Literal["review", "decline"] = "review"
    thresholds: tuple[Threshold, ...] = ()
    expected_loss: ExpectedLoss | None = None
    lists: tuple[PolicyList, ...] = ()
    #: who set ``review`` and ``decline``: the trainer, until a person does; a new model then keeps them
    thresholds_owner: str = TRAINER

    def __post_init__(self) -> None:
        check_order("thresholds", self.review, self.decline)
        names = [*(rule.name for rule in self.rules), *(found.name for found in self.lists)]
        for name in names:
            if not _NAME.fullmatch(name):
                raise PolicyError(
                    f"{name!r} is not a valid name: use lower-case letters, digits and dashes, at most 64 characters"
                )
        twice = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if twice:
            raise PolicyError(f"two rules or lists share the name {twice[0]}")

    @cached_property
    def evaluation(self) -> Evaluation:
        """The policy in executable form, built once.

        Raises:
            PolicyError: a rule, list or threshold is invalid; the text names it.
        """
        by_score = ScoreDecision(self.review, self.decline, self.thresholds, self.expected_loss)
        lists = activate(self.lists)
        return Evaluation(
            by_score, CODES[self.without_score], activate_rules(self.rules), lists,
            PolicyReasons(self.rules, lists),
        )  # fmt: skip

    @cached_property
    def features(self) -> frozenset[str]:
        """Names of features that its rules may read: every word of a condition that is a feature's name."""
        return frozenset(
            word for rule in self.rules for word in re.findall(r"\w+", rule.when.lower()) if word in INDEX
        )

    @cached_property
    def declining(self) -> frozenset[str]:
        """Names of the rules and lists that decline."""
        return frozenset(rule.name for rule in self.rules if rule.action == "decline") | frozenset(
            found.name for found in self.lists if found.kind == "block"
        )

    def decide(
        self, scores: npt.NDArray[np.float32], matrix: npt.NDArray[np.float32] | None = None,
        columns: Columns | None = None, now_ms: float | None = None, failed: Failed = log_failure,
    ) -> tuple[npt.NDArray[np.int8], list[list[str]]]:  # fmt: skip
        """Decide a batch given as columns.

        Args:
            scores: calibrated probabilities (n,), NaN where there is none.
            matrix: features (n, WIDTH) in catalogue order, NaN where unknown. If it and ``columns`` are None, no rule applies.
            columns: the transactions' fields. If None, everything that names a field is skipped: rules, lists, thresholds by
                tenant and channel, expected loss.
            now_ms: the time to compare expiries with, ms since 1970; default: now.
            failed: called with each rule that failed; it is skipped for this batch.

        Returns:
            decision codes int8 (n,) (see ``DECISIONS``) and the names of the rules and lists that matched, per row.
        """
        now_ms = time.time() * 1000 if now_ms is None else now_ms
        found = self.verdict(scores, matrix, columns, now_ms, failed)
        return found.codes, found.matched

    def verdict(
        self, scores: npt.NDArray[np.float32], matrix: npt.NDArray[np.float32] | None, columns: Columns | None,
        now_ms: float, failed: Failed,
    ) -> Verdict:  # fmt: skip
        """``decide``, with what the scores alone would decide."""
        return self.evaluation.decide(scores, matrix, columns, now_ms, failed)

    @property
    def thresholds_of_people(self) -> tuple[Threshold, ...]:
        """Those of ``thresholds`` that training did not choose."""
        return tuple(found for found in self.thresholds if found.owner != TRAINER)

    def thresholds_behind(self, people: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
        """``people``, and what training chose here for other tenants and channels."""
        taken = {(found.tenant, found.channel) for found in people}
        own = (found for found in self.thresholds if found.owner == TRAINER)
        return (*people, *(found for found in own if (found.tenant, found.channel) not in taken))

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    def with_parts_of(self, other: Policy) -> Policy:
        """This policy's trainer's rules, with everything people set in ``other``, whose names take precedence.

        The two thresholds are this policy's, unless a person set those of ``other``.
        """
        theirs = tuple(rule for rule in other.rules if rule.owner != TRAINER)
        taken = {rule.name for rule in theirs} | {found.name for found in other.lists}
        own = tuple(rule for rule in self.rules if rule.name not in taken)
        kept = self if other.thresholds_owner == TRAINER else other
        return msgspec.structs.replace(
            self, review=kept.review, decline=kept.decline, thresholds_owner=kept.thresholds_owner, rules=own + theirs, lists=other.lists,
            thresholds=self.thresholds_behind(other.thresholds_of_people),
            expected_loss=other.expected_loss, without_score=other.without_score,
        )  # fmt: skip


def parse_policy(raw: bytes) -> Policy:
    """Read a policy from JSON.

    Raises:
        PolicyError: not JSON, unknown or missing fields, or invalid values.
    """
    try:
        policy = msgspec.json.decode(raw, type=Policy)
    except msgspec.MsgspecError as error:
        raise PolicyError(f"the policy does not parse: {error}") from error
    except RecursionError:
        raise PolicyError("the policy does not parse: it is nested too deeply") from None
    _ = policy.evaluation
    return policy


#: decides while there is no model: every payment goes to review (amounts in minor units: see the rule)
FALLBACK = Policy(
    version="fallback",
    review=1.0,
    decline=1.0,
    rules=(
        Rule(
            "amount-over-limit",
            "amount_minor > 500000",
            "review",
            "tollgate",
            "a large amount, and no model is live that could score it",
        ),
    ),
)
