"""A record of `rollouts`: which bundle is served from now on, and the rollout that is under way.

Replicas need ``arms``, ``traffic``, ``salt`` and ``shadow``; the rest is for the rollout process and for people.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from features.transaction import Instant
from models.rollout.names import Name
from models.rollout.run import RolloutState, Run
from streams.contracts.decoding import RecordDecoder


class RolloutRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundle each arm serves from now on. The record with the highest sequence that the rollout process signed is in force.

    ``approved_by`` is the name that was given, ``signed_by`` the person whose key signed the request. ``reviewed``: somebody
    other than who trained or proposed the bundle approved it. ``audit_entries`` and ``audit_head``: number of entries on
    `audit` when this record was written, and the hash of the newest. ``evidence``: hash of the pack that the approval rests on.

    ``arms``: version by arm. ``traffic``: share of the cards by arm, 1 together. A card's arm is
    ``models.rollout.arms.arm_of(salt, card_id, traffic["challenger"])``. ``shadow``: the challenger scores beside the champion.
    ``run``: the rollout under way, or the last one.
    """

    model: Name
    champion: Name
    previous: Name | None
    arms: dict[str, str]
    traffic: dict[str, float]
    state: RolloutState
    approved_by: str
    why: str
    since: Instant
    sequence: Annotated[int, Meta(ge=0, lt=2**53)]
    signed_by: str = ""
    reviewed: bool = False
    audit_entries: int = 0
    audit_head: str = ""
    shadow: bool = False
    salt: str = ""
    run: Run | None = None
    evidence: str = ""


decode_rollout = RecordDecoder(RolloutRecord)
