"""A record of `retraining`: a request for a new model, with its evidence."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from features.transaction import Instant
from models.rollout.names import Name
from streams.contracts.decoding import RecordDecoder

#: longest pause between two trainings that a request can ask for
MAX_COOLDOWN_S = 90 * 86_400


class RetrainingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A person or a detector asks for a new model, with evidence. Requests with the same ``dedupe_key`` are handled once.

    The record is signed by somebody who may ask for it (``streams.access.roles``: retrain).
    """

    model: Name
    reason: str
    evidence: list[dict[str, Any]]
    data_from: Instant
    data_to: Instant
    requested_at: Instant
    dedupe_key: str
    cooldown_s: Annotated[float, Meta(ge=0, le=MAX_COOLDOWN_S)]
    requested_by: str


#: evidence has a row for each column that drifts
decode_retraining = RecordDecoder(RetrainingRequest, max_bytes=262_144)
