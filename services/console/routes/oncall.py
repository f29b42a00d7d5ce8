"""On call: status, pages, silences, runbooks, dead letters, the books."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from infra.stack.servers.monitoring import alert_rules
from services.console.outside.payments import refused_row
from services.console.people.caller import ALL_TENANTS, Here, Operator, Reader
from services.console.problems import invalid
from services.console.routes.asking import Reason, Text

router = APIRouter(prefix="/api/v1", tags=["on call"])
MAX_MINUTES = 7 * 24 * 60
MAX_AGAIN = 500


class Silence(Reason):
    """One alert, and for how long it sends no pages."""

    alert: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,63}$")
    minutes: int = Field(ge=1, le=MAX_MINUTES)


class SendAgain(BaseModel):
    """Dead letters by id, and fields to correct in all of them; an empty text removes a field."""

    ids: list[Annotated[str, Field(pattern=r"^[a-z-]{1,64}/\d{1,10}/\d{1,20}$")]] = Field(
        min_length=1, max_length=MAX_AGAIN
    )
    set: dict[Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")], Annotated[str, Field(max_length=256)]] = {}


@router.get("/status")
def status(_: Reader, console: Here) -> dict[str, Any]:
    """As ``tollgate status --json``, without passwords; at most some seconds old."""
    return console.outside.status()


@router.get("/doctor")
def doctor(_: Reader, console: Here) -> dict[str, Any]:
    """As ``tollgate doctor --live --json``: what is wrong, the likely cause first; at most some seconds old."""
    return console.outside.doctor()


@router.get("/pages")
def pages(_: Reader, console: Here, history: Annotated[int, Query(ge=0, le=1000)] = 50) -> dict[str, Any]:
    """As ``tollgate pages --json``; ``firing`` is null while Alertmanager does not answer."""
    return {"firing": console.outside.status()["alerts"], "history": console.outside.sent_pages(history)}


@router.get("/runbooks")
def runbooks(_: Reader, console: Here) -> list[str]:
    """The alerts that have a runbook."""
    return console.outside.runbooks()


@router.get("/runbooks/{name}")
def runbook(name: str, _: Reader, console: Here) -> dict[str, str]:
    """One runbook, in Markdown."""
    return {"name": name, "text": console.outside.runbook(name)}


@router.post("/silences", status_code=201)
def silence(body: Silence, caller: Operator, console: Here) -> dict[str, Any]:
    """Send no pages of one alert for a while."""
    known = {rule["alert"] for rule in alert_rules()}
    if body.alert not in known:
        raise invalid("alert", f"there is no alert {body.alert}")
    now = console.door.now()
    made = console.outside.silence(body.alert, body.minutes, caller.name, body.why, now)
    return {"id": made, "until": (now + timedelta(minutes=body.minutes)).isoformat()}


@router.get("/dead-letters", dependencies=ALL_TENANTS)
def dead_letters(
    _: Reader,
    console: Here,
    reason: Text = None,
    every: Annotated[bool, Query(alias="all")] = False,
    limit: Annotated[int, Query(ge=1, le=2000)] = 200,
) -> dict[str, Any]:
    """Refused records, the newest first. Of people who see some tenants only, nobody sees them: what was refused has no sure tenant."""
    found = [each for each in console.outside.dead_letters(reason) if every or each.replayed_at is None]
    return {"rows": [refused_row(each) for each in found[::-1][:limit]], "counted": len(found)}


@router.post("/dead-letters/replay", dependencies=ALL_TENANTS)
def send_again(body: SendAgain, _: Operator, console: Here) -> Any:
    """Send refused records again, corrected or as they are."""
    options = [
        *(f"--id={each}" for each in body.ids),
        *(f"--set={name}={value}" for name, value in body.set.items()),
    ]
    return console.outside.commands.run("dead-letters", "replay", options=options, within_s=60)


@router.get("/reconcile")
def reconcile(_: Operator, console: Here) -> Any:
    """As ``tollgate reconcile --json``; reads the whole log."""
    return console.outside.commands.run("reconcile", within_s=120)
