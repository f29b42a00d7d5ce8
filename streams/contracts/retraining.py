"""A record of `retraining`: a request for a new model, with its evidence."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from features.transaction import Instant
from models.rollout.names import Name
from streams.contracts.decoding import RecordDecoder


class RetrainingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A person or a detector asks for a new model, with evidence. Requests with the same ``dedupe_key`` are handled once."""

    model: Name
    reason: str
    evidence: list[dict[str, Any]]
    data_from: Instant
    data_to: Instant
    requested_at: Instant
    dedupe_key: str
    #: at most a year
    cooldown_s: Annotated[float, Meta(ge=0, le=31_536_000)]
    requested_by: str


#: evidence has a row for each column that drifts
decode_retraining = RecordDecoder(RetrainingRequest, max_bytes=262_144)
