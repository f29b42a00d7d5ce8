"""A record of `rollouts`: which bundle is served from now on."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from features.transaction import Instant
from models.rollout.names import Name
from streams.contracts.decoding import RecordDecoder


class RolloutRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundle each arm serves from now on. The newest record on `rollouts` is in force."""

    model: Name
    champion: Name
    previous: Name | None
    arms: dict[str, str]
    traffic: dict[str, float]
    state: Literal["live", "shadow", "canary", "rolled_back"]
    approved_by: str
    why: str
    since: Instant
    sequence: Annotated[int, Meta(ge=0, lt=2**53)]


decode_rollout = RecordDecoder(RolloutRecord)
