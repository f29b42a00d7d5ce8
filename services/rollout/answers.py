"""The answers on `rollouts-audit`: a copy of each rollout record, and an answer to every other request.

The header ``request-id`` names the request; ``accepted`` is ``1`` or ``0``. If accepted, the value is the RolloutRecord
(for the action reject: the Answer below); if refused, an Answer with its reason.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from models.rollout.transitions import RolloutRequest
from streams.runtime.kafka.clients import headers_of

HEADER_REQUEST_ID = "request-id"
HEADER_ACCEPTED = "accepted"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request that did not change what is served: it was refused, or it rejected a version."""

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
    """The text of a Kafka message's header, None if it is absent. Invalid UTF-8 is replaced."""
    for key, value in headers_of(message):
        if key == name and isinstance(value, bytes):
            return value.decode("utf-8", "replace")
    return None


def answer(request: RolloutRequest, state: str, reason: str, now: datetime) -> Answer:
    """An answer that does not change what is served."""
    return Answer(
        request_id=request.request_id, action=request.action, model=request.model, version=request.version,
        by=request.by, why=request.why, state=state, reason=reason, answered_at=now,
    )  # fmt: skip
