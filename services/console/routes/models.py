"""Models: what is published, who serves, approvals; what drifts. A change is signed with the key of the person who asks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from models.rollout.transitions import Action
from services.console.people.caller import Approver, Caller, Here, Reader, Rejecter, Retrainer, RollerBack
from services.console.routes.asking import Reason
from services.console.wiring import Console

router = APIRouter(prefix="/api/v1", tags=["models"])
#: a version as the registry names it; nothing that a command could take for an option
Version = Annotated[str, Path(pattern=r"^[0-9][0-9A-Za-z.+-]{0,63}$")]
OneOf = Annotated[str | None, Query(pattern=r"^[0-9][0-9A-Za-z.+-]{0,63}$")]


class Training(Reason):
    """From how many days before now a new model is trained."""

    days: int = Field(default=60, ge=1, le=3650)


class Back(Reason):
    """Which version is served again; null: the one before."""

    version: str | None = Field(default=None, pattern=r"^[0-9][0-9A-Za-z.+-]{0,63}$")


@router.get("/models")
def models(_: Reader, console: Here) -> list[dict[str, Any]]:
    """As ``tollgate models list --json``."""
    return console.outside.models()


@router.get("/models/compare")
def compare(_: Reader, console: Here, candidate: OneOf = None, live: OneOf = None) -> Any:
    """As ``tollgate models compare --json``; takes seconds."""
    given = [version for version in (candidate, live) if version is not None]
    return console.outside.commands.run("models", "compare", given=given, within_s=120)


@router.get("/models/{version}")
def model(version: Version, _: Reader, console: Here) -> dict[str, Any]:
    """As ``tollgate models show --json``."""
    return console.outside.model(version)


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
    """What is served, by which share of the payments."""
    return console.outside.rollout()


@router.get("/drift")
def drift(_: Reader, console: Here) -> dict[str, Any]:
    """Findings, what drifts most first, and the newest retraining requests."""
    return console.outside.drift()


def _change(
    console: Console, caller: Caller, action: Action, version: str | None, why: str
) -> dict[str, Any]:
    return console.outside.change_model(action, version, caller.name, why, console.door.now())
