"""The public decision of one transaction and its reasons."""

from __future__ import annotations

from typing import Literal

import msgspec

from features.identity import identity_of
from features.transaction import Instant

DecisionName = Literal["approve", "review", "decline"]
#: a decision's int8 code is its position here; a higher code is stricter
DECISIONS: tuple[DecisionName, ...] = ("approve", "review", "decline")
CODES: dict[str, int] = {name: code for code, name in enumerate(DECISIONS)}


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a payment was decided so: ``code`` for programs, ``text`` for people.

    ``contribution``: what a feature adds to the score, in log-odds; absent for a list or a rule, which decide by themselves.
    """

    code: str
    text: str
    contribution: float | None = None


class Exploration(msgspec.Struct, frozen=True):
    """That a payment was in the draw of exploration (``models.policy.exploration``): a small share of the payments that would be stopped is
    let through, so that their outcome becomes known.

    ``would_be``: what the policy says; another ``decision`` means that this one was let through. ``propensity``: the chance, 0 to 1, that
    it had of being let through.
    """

    would_be: DecisionName
    propensity: float


class Decision(msgspec.Struct, kw_only=True, omit_defaults=False):
    """The decision of one transaction. ``status``: whether all inputs were there; ``degraded_by``: which were missing.

    ``arm``: the model that decided, ``champion`` or a rollout's ``challenger``. ``shadow``: scores of models beside it, by version.

    ``reasons``: what decided comes first (a list, then rules), then the score's own reasons, if it alone decides the same.
    """

    transaction_id: str
    decision: DecisionName
    status: Literal["scored", "degraded", "not_scored"]
    score: float | None
    reasons: list[Reason]
    model: str
    model_version: str
    policy_version: str
    features_version: str
    arm: str
    shadow: dict[str, float]
    rules: list[str]
    event_time: Instant
    received_at: Instant
    decided_at: Instant
    latency_ms: float
    card_id: str
    tenant: str
    degraded_by: list[str] = []
    #: absent unless the policy declines and exploration is on for the tenant
    exploration: Exploration | msgspec.UnsetType = msgspec.UNSET

    @property
    def identity(self) -> str:
        """Of its transaction."""
        return identity_of(self.tenant, self.transaction_id)
