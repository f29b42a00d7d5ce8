"""Models: what is published, who serves, approvals; what drifts. A change is signed with the key of the person who asks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, Field

from models.rollout.transitions import Action
from services.console.people.caller import (
    ALL_TENANTS,
    Approver,
    Caller,
    Here,
    Reader,
    Rejecter,
    Retrainer,
    RollerBack,
)
from services.console.problems import unknown
from services.console.routes.asking import Reason
from services.console.wiring import Console

router = APIRouter(prefix="/api/v1", tags=["models"])
#: a version as the registry names it; nothing that a command could take for an option
VERSION = r"^[0-9][0-9A-Za-z.+-]{0,63}$"
Version = Annotated[str, Path(pattern=VERSION)]
OneOf = Annotated[str | None, Query(pattern=VERSION)]


class Training(Reason):
    """From how many days before now a new model is trained."""

    days: int = Field(default=60, ge=1, le=3650)


class Begin(Reason):
    """Steps and guards in TOML; null: the built-in plan."""

    plan: str | None = Field(default=None, max_length=20_000)


class Back(Reason):
    """Which version is served again; null: the one before."""

    version: str | None = Field(default=None, pattern=VERSION)


@router.get("/models")
def models(_: Reader, console: Here) -> list[dict[str, Any]]:
    """As ``tollgate models list --json``."""
    return console.outside.models()


@router.get("/models/compare", dependencies=ALL_TENANTS)
def compare(_: Reader, console: Here, candidate: OneOf = None, live: OneOf = None) -> Any:
    """As ``tollgate models compare --json``; takes seconds."""
    given = [version for version in (candidate, live) if version is not None]
    return console.outside.commands.run("models", "compare", given=given, within_s=120)


@router.get("/models/thresholds", dependencies=ALL_TENANTS)
def thresholds(
    _: Reader,
    console: Here,
    version: Annotated[list[Annotated[str, Field(pattern=VERSION)]], Query(min_length=1, max_length=4)],
) -> Any:
    """As ``tollgate models thresholds --json``: what each threshold would do, for up to four versions; takes seconds."""
    return console.outside.commands.run("models", "thresholds", given=version, within_s=120)


@router.get("/models/at")
def at(_: Reader, console: Here, time: AwareDatetime) -> Any:
    """Who served which share at a moment: as ``tollgate models at --json``."""
    return console.outside.commands.run("models", "at", given=[time.isoformat()])


@router.get("/models/{version}/evidence")
def evidence(version: Version, _: Reader, console: Here) -> Any:
    """What a person reads before approving a version: as ``tollgate models evidence --json``."""
    return console.outside.commands.run("models", "evidence", given=[version])


@router.get("/models/{version}")
def model(version: Version, _: Reader, console: Here) -> dict[str, Any]:
    """As ``tollgate models show --json``."""
    return console.outside.model(version)


@router.get("/performance", dependencies=ALL_TENANTS)
def performance(
    _: Reader, console: Here, since: Annotated[str, Query(pattern=r"^[1-9]\d{0,4}[dh]$")] = "42d"
) -> Any:
    """As ``tollgate performance --json``, of all tenants together and each; takes seconds."""
    return console.outside.commands.run("performance", options=[f"--since={since}"], within_s=120)


@router.post("/models/rollback")
def rollback(body: Back, caller: RollerBack, console: Here) -> dict[str, Any]:
    """Serve the version before again, or a named one that was live."""
    return _change(console, caller, "rollback", body.version, body.why)


@router.post("/models/retrain", status_code=202)
def retrain(body: Training, caller: Retrainer, console: Here) -> Any:
    """Ask the trainer for a new model, which then awaits approval: as ``tollgate retrain --json``."""
    options = [f"--as={caller.name}", f"--why={body.why}", f"--days={body.days}"]
    return console.outside.commands.run("retrain", options=options)


@router.post("/models/{version}/approve")
def approve(version: Version, body: Reason, caller: Approver, console: Here) -> dict[str, Any]:
    """Make a version live that awaits approval."""
    return _change(console, caller, "approve", version, body.why)


@router.post("/models/{version}/promote")
def promote(version: Version, body: Reason, caller: Approver, console: Here) -> dict[str, Any]:
    """Make a version live again that was approved before."""
    return _change(console, caller, "promote", version, body.why)


@router.post("/models/{version}/reject")
def reject(version: Version, body: Reason, caller: Rejecter, console: Here) -> dict[str, Any]:
    """Reject a version that awaits approval."""
    return _change(console, caller, "reject", version, body.why)


@router.get("/rollout")
def rollout(_: Reader, console: Here) -> dict[str, Any]:
    """As ``tollgate rollout status --json``."""
    return console.outside.rollout()


@router.post("/models/{version}/rollout")
def begin(version: Version, body: Begin, caller: Approver, console: Here) -> dict[str, Any]:
    """Roll a version out step by step beside the live one."""
    return console.outside.change_rollout(
        "rollout", version, caller.name, body.why, body.plan, console.door.now()
    )


@router.post("/rollout/pause")
def pause(body: Reason, caller: RollerBack, console: Here) -> dict[str, Any]:
    """Stop at the current step; guards still undo it."""
    return _steer(console, caller, "pause", body.why)


@router.post("/rollout/resume")
def resume(body: Reason, caller: Approver, console: Here) -> dict[str, Any]:
    """Go on after a pause, or past a step that waits for approval."""
    return _steer(console, caller, "resume", body.why)


@router.post("/rollout/step")
def step(body: Reason, caller: Approver, console: Here) -> dict[str, Any]:
    """Go to the next step now, whatever the checks say."""
    return _steer(console, caller, "step", body.why)


@router.post("/rollout/abort")
def abort(body: Reason, caller: RollerBack, console: Here) -> dict[str, Any]:
    """Undo it: the champion serves every card again."""
    return _steer(console, caller, "abort", body.why)


@router.get("/drift")
def drift(_: Reader, console: Here) -> dict[str, Any]:
    """Findings, what drifts most first, and the newest retraining requests."""
    return console.outside.drift()


@router.get("/drift/{feature}")
def distribution(
    feature: Annotated[str, Path(pattern=r"^[a-z][a-z0-9_.]{0,63}$")], _: Reader, console: Here
) -> dict[str, Any]:
    """A feature, or ``score``: shares by bin in the live model's reference and among the newest archived payments."""
    found = console.outside.distribution(feature)
    if found is None:
        raise unknown(
            f"nothing can be said of {feature}: it is no feature of the live model, or no payment is archived yet"
        )
    return found


def _change(
    console: Console, caller: Caller, action: Action, version: str | None, why: str
) -> dict[str, Any]:
    return console.outside.change_model(action, version, caller.name, why, console.door.now())


def _steer(console: Console, caller: Caller, action: Action, why: str) -> dict[str, Any]:
    return console.outside.change_rollout(action, None, caller.name, why, None, console.door.now())
