"""An outcome: a decision and its matured label."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from models.decision import Decision


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A decision joined with its matured label."""

    decision: Decision
    label: Literal["fraud", "legit"]
    label_time: datetime
    source: str
    merchant_id: str
