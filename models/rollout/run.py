"""A rollout under way: its plan, its step, what was measured. Imports no bundle: the drift stream reads it too."""

from __future__ import annotations

from typing import Literal

import msgspec

from features.transaction import Instant
from models.rollout.names import Name
from models.rollout.plan import Metric, Plan

RolloutState = Literal["live", "shadow", "canary", "ab", "paused", "rolled_back", "done"]
#: states of a rollout that is under way
UNDER_WAY: frozenset[RolloutState] = frozenset({"shadow", "canary", "ab", "paused"})
Result = Literal["pass", "fail", "inconclusive", "too_few"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A guard's figures. ``n``: observations; ``low`` and ``high`` hold at any moment of looking; ``limit``: as text for people."""

    name: str
    result: Result
    n: int
    estimate: float | None
    low: float | None
    high: float | None
    limit: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout from its request to its end. ``step`` counts from 1. ``checks``: at the moment of the record.

    ``step_since``: when the step began; its counts are those of decisions from then on. ``pause``: why it stands still, "" if it
    does not. ``started_by``: the person whose key signed the request. ``figures``: see ``models.rollout.checks.figures``.
    ``loaded``: every replica has the challenger's bundle; before that it has no share. ``reviewed``: somebody other than who
    trained or proposed it approved it. ``proven``: metrics whose limit was proven kept in an earlier step; later steps watch them and do not wait for them.
    """

    id: str
    champion: Name
    challenger: Name
    plan: Plan
    step: int
    started_at: Instant
    started_by: str
    step_since: Instant
    loaded: bool = False
    reviewed: bool = False
    pause: Literal["", "person", "no_data", "inconclusive", "approval"] = ""
    checks: tuple[Check, ...] = ()
    figures: dict[str, float] = {}
    proven: tuple[Metric, ...] = ()
