"""A record of `rollouts`: which bundle is served from now on."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec


class RolloutRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundle each arm serves from now on. The newest record on `rollouts` is in force."""

    model: str
    champion: str
    previous: str | None
    arms: dict[str, str]
    traffic: dict[str, float]
    state: Literal["live", "shadow", "canary", "rolled_back"]
    approved_by: str
    why: str
    since: datetime
    sequence: int
