"""An entry of `audit`: what was asked of what is served or of who may do what, by whom, and the answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``entry`` counts from 1. ``previous``: SHA-256 of the entry before, in hex; zeros for the first.

    ``by`` is the name that was given, ``signed_by`` who signed, with its ``role``. ``detail`` has the rollout record that
    followed, or the answer.
    """

    entry: int
    previous: str
    at: datetime
    action: str
    result: Literal["accepted", "refused"]
    model: str
    version: str | None
    by: str
    signed_by: str
    role: str
    why: str
    request_id: str
    detail: dict[str, Any]
