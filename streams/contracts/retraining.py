"""A record of `retraining`: a request for a new model, with its evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class RetrainingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A person or a detector asks for a new model, with evidence. Requests with the same ``dedupe_key`` are handled once."""

    model: str
    reason: str
    evidence: list[dict[str, Any]]
    data_from: datetime
    data_to: datetime
    requested_at: datetime
    dedupe_key: str
    cooldown_s: float
    requested_by: str
