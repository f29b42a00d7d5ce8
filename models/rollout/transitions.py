"""The rules of a rollout: which version may get which state, and who must ask for it. Pure: states in, a change or refusal out.

published -> awaiting approval -> live -> superseded. Rejected and rolled back are final, except for ``promote`` and a
``rollback`` that names the version. No version becomes live without a person's approval, and the approval of who trained or
proposed it is no review: it is refused where somebody else may approve, else the version is served as unreviewed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from features.transaction import Instant
from models.bundle.registry import State
from models.rollout.names import Name
from models.rollout.plan import MAX_PLAN_BYTES

Action = Literal["approve", "reject", "rollback", "promote", "rollout", "pause", "resume", "step", "abort"]
#: longest reason, characters. It stands in the record on `rollouts`, which replicas read only up to a bound: one that nobody can read
#: could not be undone
MAX_WHY = 1_000
#: states of versions that a person has approved before
SERVED_BEFORE: frozenset[State] = frozenset({"superseded", "rolled back", "approved"})


class RolloutRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A person's request. ``version`` may be absent for ``rollback``, which then means the previous version, and for what is asked of
    a rollout under way. ``plan``: of ``rollout``, a TOML text; None: the built-in plan.

    ``evidence``: hash of the evidence pack that an approval or a rollout rests on (``models.evidence.pack``).
    """

    request_id: Annotated[str, Meta(max_length=128)]
    action: Action
    model: Name
    version: Name | None
    by: Annotated[str, Meta(max_length=128)]
    why: Annotated[str, Meta(max_length=MAX_WHY)]
    requested_at: Instant
    plan: Annotated[str, Meta(max_length=MAX_PLAN_BYTES)] | None = None
    evidence: Annotated[str, Meta(max_length=128)] | None = None


class TransitionRefused(Exception):
    """The rules forbid the request; the text says why and what is possible instead."""


@dataclass(frozen=True)
class Standing:
    """The current situation. ``states`` has every published version; ``sequence`` is the newest record's (0: none yet)."""

    champion: str | None
    previous: str | None
    sequence: int
    states: Mapping[str, State]
    #: whether the champion was reviewed
    reviewed: bool = True
    #: of a rollout under way
    challenger: str | None = None


@dataclass(frozen=True)
class Change:
    """The result of a request. ``champion`` None: the served version stays, only states change."""

    champion: str | None
    previous: str | None
    record_state: Literal["live", "rolled_back"]
    states: dict[str, State]


def decide(standing: Standing, request: RolloutRequest) -> Change:
    """The change that a request causes.

    Raises:
        TransitionRefused: the rules forbid it.
    """
    if not request.by.strip():
        raise TransitionRefused("a request must say who makes it (--by)")
    if request.action == "rollback":
        return _rollback(standing, request.version)
    if standing.challenger is not None and request.action in ("approve", "promote", "rollout"):
        raise TransitionRefused(
            f"a rollout of {standing.challenger} is under way: let it end, or `tollgate rollout abort`"
        )
    version = request.version
    if not version:
        raise TransitionRefused(f"{request.action} must name a version")
    state = _state(standing, version)
    if request.action == "reject":
        if state not in ("awaiting approval", "published"):
            raise TransitionRefused(
                f"{version} is {state}: only a version that awaits approval can be rejected"
            )
        return Change(None, None, "live", {version: "rejected"})
    if request.action == "approve":
        if version == standing.champion and not standing.reviewed:
            return Change(version, standing.previous, "live", {version: "live"})
        if state != "awaiting approval":
            raise TransitionRefused(
                f"{version} is {state}: only a version that awaits approval can be approved"
            )
    elif request.action == "rollout":
        return _roll_out(standing, version, state)
    elif state not in SERVED_BEFORE:
        raise TransitionRefused(
            f"{version} is {state}: promote takes a version that was approved before; approve it first"
        )
    return _go_live(standing, version)


def reviewed_by(signer: str, author: str | None, others: Sequence[str]) -> bool:
    """Whether the approval of ``signer`` counts as a review of what ``author`` trained or proposed (None: a service).

    Args:
        others: the other people who may approve.

    Raises:
        TransitionRefused: signer and author are one person, and others may approve.
    """
    if signer != author:
        return True
    if others:
        raise TransitionRefused(
            f"{signer} trained or proposed it and cannot approve it: ask {' or '.join(sorted(others))} (`--as NAME`)"
        )
    return False


def first_model(standing: Standing) -> str | None:
    """The version to serve while none has been served yet: the newest that was approved on publication."""
    if standing.champion is not None or standing.sequence:
        return None
    approved = [version for version, state in standing.states.items() if state in ("approved", "live")]
    return approved[-1] if approved else None


def _rollback(standing: Standing, version: str | None) -> Change:
    if standing.champion is None:
        raise TransitionRefused("no model is live: there is nothing to roll back")
    target = version or standing.previous
    if target is None:
        raise TransitionRefused(
            f"{standing.champion} has no previous version: name one that was live, `tollgate models rollback VERSION`"
        )
    if target == standing.champion:
        raise TransitionRefused(f"{target} is live already")
    state = _state(standing, target)
    if state not in SERVED_BEFORE:
        raise TransitionRefused(f"{target} is {state}: a rollback goes to a version that was live before")
    states: dict[str, State] = {standing.champion: "rolled back", target: "live"}
    if standing.challenger not in (None, target):
        # what was on its way ends with it
        states[str(standing.challenger)] = "rolled back"
    return Change(target, None, "rolled_back", states)


def _roll_out(standing: Standing, version: str, state: State) -> Change:
    """The version becomes the challenger; what is served stays until its plan says otherwise."""
    if standing.champion is None:
        raise TransitionRefused(
            "no model is live: there is nothing to compare with, approve it (`tollgate models approve`)"
        )
    if version == standing.champion:
        raise TransitionRefused(f"{version} is live already")
    if state != "awaiting approval" and state not in SERVED_BEFORE:
        raise TransitionRefused(
            f"{version} is {state}: a rollout takes a version that awaits approval, or was live before"
        )
    return Change(version, standing.champion, "live", {version: "approved"})


def _go_live(standing: Standing, version: str) -> Change:
    if version == standing.champion:
        raise TransitionRefused(f"{version} is live already")
    states: dict[str, State] = {version: "live"}
    if standing.champion is not None:
        states[standing.champion] = "superseded"
    return Change(version, standing.champion, "live", states)


def _state(standing: Standing, version: str) -> State:
    if version not in standing.states:
        known = ", ".join(standing.states) or "none"
        raise TransitionRefused(f"there is no version {version} (published: {known})")
    return standing.states[version]
