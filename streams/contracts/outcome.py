"""An outcome: a decision and its matured label."""

from __future__ import annotations

from typing import Literal

import msgspec

from features.transaction import Instant
from models.decision import Decision


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A decision joined with its matured label."""

    decision: Decision
    label: Literal["fraud", "legit"]
    label_time: Instant
    source: str
    merchant_id: str
    #: minor units of ``currency``; None where the decision's record does not say
    amount_minor: int | None = None
    currency: str | None = None
