"""Policy: from a score and a row of features to a decision. Data, not code, so that it travels in the bundle, signed.

Two thresholds on the calibrated probability, and rules on features that can only make a decision stricter. A row
without a score (NaN) gets ``without_score``, never approval by silence.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX, NAMES

DecisionName = Literal["approve", "review", "decline"]
#: int8 code of a decision is its place here; a higher code is stricter
DECISIONS: tuple[DecisionName, ...] = ("approve", "review", "decline")
CODES: dict[str, int] = {name: code for code, name in enumerate(DECISIONS)}
_COMPARE = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}


class PolicyError(Exception):
    """A policy does not say something that can be carried out; the text names the place."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``feature`` compared with ``value`` (in the feature's unit) gives at least ``decision``; NaN never matches.

    With ``min_score`` above 0 the rule holds only for rows whose score is at least that.
    """

    name: str
    feature: str
    op: Literal[">", ">=", "<", "<="]
    value: float
    decision: Literal["review", "decline"]
    min_score: float = 0.0


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores at or above ``decline`` are declined, at or above ``review`` reviewed, unless a rule is stricter."""

    version: str
    review: float
    decline: float
    rules: tuple[Rule, ...] = ()
    without_score: Literal["review", "decline"] = "review"

    def __post_init__(self) -> None:
        if not 0 <= self.review <= self.decline <= 1:
            raise PolicyError(
                f"thresholds must hold 0 <= review <= decline <= 1, got {self.review} and {self.decline}"
            )
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise PolicyError("two rules share a name")
        for rule in self.rules:
            if rule.feature not in INDEX:
                raise PolicyError(
                    f"rule {rule.name} names feature {rule.feature}, which the catalogue does not have"
                )
            if not np.isfinite(rule.value) or not 0 <= rule.min_score <= 1:
                raise PolicyError(f"rule {rule.name}: value must be finite and min_score between 0 and 1")

    def decide(
        self, scores: npt.NDArray[np.float32], matrix: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.int8], list[list[str]]]:
        """Decide on columns.

        Args:
            scores: calibrated probabilities (n,), NaN where there is none.
            matrix: features (n, WIDTH) in catalogue order, NaN where unknown; None leaves the rules out.

        Returns:
            decision codes int8 (n,) (see ``DECISIONS``) and the names of the rules that matched, per row.
        """
        # a score is float32: so must the thresholds be, or a score at its own threshold falls below it
        codes = (scores >= np.float32(self.review)).astype(np.int8) + (scores >= np.float32(self.decline))
        codes[np.isnan(scores)] = CODES[self.without_score]
        matched: list[list[str]] = [[] for _ in range(len(scores))]
        if matrix is None:
            return codes, matched
        for rule in self.rules:
            hit = _COMPARE[rule.op](matrix[:, INDEX[rule.feature]], np.float32(rule.value))
            if rule.min_score > 0:
                hit &= scores >= np.float32(rule.min_score)
            rows = np.flatnonzero(hit)
            codes[rows] = np.maximum(codes[rows], CODES[rule.decision])
            for row in rows:
                matched[row].append(rule.name)
        return codes, matched

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


def parse_policy(raw: bytes) -> Policy:
    """Read a policy from JSON.

    Raises:
        PolicyError: not JSON, unknown or missing fields, or values that cannot be carried out.
    """
    try:
        return msgspec.json.decode(raw, type=Policy)
    except msgspec.MsgspecError as error:
        raise PolicyError(
            f"the policy does not parse: {error} (features: {', '.join(NAMES[:3])}, …)"
        ) from error


#: what decides while there is no model: everything is looked at by a person (minor units: see the rule)
FALLBACK = Policy(
    version="fallback",
    review=1.0,
    decline=1.0,
    rules=(Rule("amount-over-limit", "amount", ">", 500_000.0, "review"),),
)
