"""The content of an evidence pack."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from models.training.gates.judge import Judgement


class EvidencePack(msgspec.Struct, frozen=True, kw_only=True):
    """``bundle``: SHA-256 of the bundle's manifest. ``live_model``: SHA-256 of the live model that it was held against.

    ``judgement``: None where the version has the live model and changes only the policy; ``tested`` then has what the policy would
    have changed in the past, if anything is archived, and ``changes`` what it leaves out of the live policy.
    """

    model: str
    version: str
    bundle: str
    created_at: datetime
    expires_at: datetime
    live: str | None
    live_model: str | None
    catalogue: str
    software: str
    judgement: Judgement | None
    lineage: dict[str, Any]
    policy: dict[str, Any]
    evaluation: dict[str, Any]
    tested: dict[str, Any] | None = None
    changes: list[str] = []
