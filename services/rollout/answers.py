"""What the rollout process writes on `rollouts-audit`: a full copy of each record, and every refusal, both as answers.

The header ``request-id`` says which request is answered; ``accepted`` is ``1`` or ``0``. An accepted answer's value is the
RolloutRecord (or, for a rejection, the Answer below); a refusal's value is an Answer with its reason.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from models.rollout.transitions import RolloutRequest

HEADER_REQUEST_ID = "request-id"
HEADER_ACCEPTED = "accepted"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A request that changed nothing that is served: refused, or a rejection carried out."""

    request_id: str
    action: str
    model: str
    version: str | None
    by: str
    why: str
    state: str
    reason: str
    answered_at: datetime


def headers(request_id: str, accepted: bool) -> list[tuple[str, str | bytes | None]]:
    return [(HEADER_REQUEST_ID, request_id.encode()), (HEADER_ACCEPTED, b"1" if accepted else b"0")]


def header(message: Any, name: str) -> str | None:
    """The text of a Kafka message's header; None where it is absent or not UTF-8."""
    for key, value in message.headers() or ():
        if key == name and isinstance(value, bytes):
            return value.decode("utf-8", "replace")
    return None


def answer(request: RolloutRequest, state: str, reason: str, now: datetime) -> Answer:
    """An answer that leaves what is served as it is."""
    return Answer(
        request_id=request.request_id, action=request.action, model=request.model, version=request.version,
        by=request.by, why=request.why, state=state, reason=reason, answered_at=now,
    )  # fmt: skip
