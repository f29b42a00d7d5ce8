"""People, API keys and the audit. Every change is on the audit with the name of who asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from services.cli.access.rows import key_row, member_row
from services.console.people.caller import ALL_TENANTS, Administrator, Here, Reader
from services.console.problems import Problem, invalid, unknown
from services.console.wiring import Console
from streams.access.api_keys import make_key, read_keys, revoke_key
from streams.access.directory import AccessError, change_directory, read_directory, without_member
from streams.access.identity import add_person
from streams.access.logins import Link, login_of, make_link
from streams.access.roles import MAY, ROLES, SERVICES, Role

router = APIRouter(prefix="/api/v1", tags=["people"])
NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
TENANT = Annotated[str, Field(min_length=1, max_length=64)]
Name = Annotated[str, Path(pattern=NAME)]


class NewPerson(BaseModel):
    """A person to add. ``tenants``: whose payments they see; empty: all."""

    name: str = Field(pattern=NAME)
    role: Literal["analyst", "reviewer", "approver", "operator", "admin"]
    tenants: list[TENANT] = Field(default=[], max_length=100)


class NewKey(BaseModel):
    """An API key to make. ``days``: until it expires; null: never."""

    name: str = Field(min_length=1, max_length=64)
    role: Literal["analyst", "reviewer", "approver", "operator", "admin", "service"] = "service"
    tenant: str = Field(default="default", min_length=1, max_length=64)
    days: int | None = Field(default=None, ge=1, le=3650)
    per_second: float | None = Field(default=None, gt=0)


@router.get("/roles")
def roles(_: Reader) -> list[dict[str, Any]]:
    """Each role and what it may do."""
    return [{"role": role, "may": sorted(MAY[role])} for role in ROLES]


@router.get("/people", dependencies=ALL_TENANTS)
def people(_: Administrator, console: Here) -> list[dict[str, Any]]:
    """As ``tollgate access list --json``, with who has a password, and whose payments they see."""
    folder = console.settings.access_dir
    out = []
    for member in read_directory(folder).members:
        login = login_of(folder, member.name) if member.active else None
        password = login is not None and bool(login.password)
        out.append(
            {**member_row(member), "password": password, "tenants": list(login.tenants) if login else []}
        )
    return out


@router.post("/people", dependencies=ALL_TENANTS, status_code=201)
def add(body: NewPerson, caller: Administrator, console: Here) -> dict[str, Any]:
    """Make a person known, with a key on this machine, and a one-time link for a password."""
    folder, now = console.settings.access_dir, console.door.now()
    role: Role = body.role
    member = add_person(folder, body.name, role, by=caller.name, now=now)
    token, link = make_link(folder, body.name, by=caller.name, now=now, tenants=body.tenants)
    return {**member_row(member), "password": False, "tenants": body.tenants, **_link(console, token, link)}


@router.post("/people/{name}/link", dependencies=ALL_TENANTS, status_code=201)
def new_link(name: Name, caller: Administrator, console: Here) -> dict[str, Any]:
    """Another one-time link; an earlier one stops to count."""
    token, link = make_link(console.settings.access_dir, name, by=caller.name, now=console.door.now())
    return _link(console, token, link)


@router.delete("/people/{name}", dependencies=ALL_TENANTS, status_code=204)
def revoke(name: Name, caller: Administrator, console: Here) -> None:
    """Revoke a person: sessions end, and nothing that they sign counts from now on."""
    if name in SERVICES:
        raise invalid("name", f"{name} is a service of the stack")
    if name == caller.name:
        raise Problem(409, "refused", "nobody revokes themselves: another admin or operator must")
    folder, now = console.settings.access_dir, console.door.now()
    if read_directory(folder).active(name) is None:
        raise unknown(f"{name} is not known to this stack")
    change_directory(folder, lambda known: without_member(known, name, caller.name, now))


@router.get("/keys", dependencies=ALL_TENANTS)
def keys(_: Administrator, console: Here) -> list[dict[str, Any]]:
    """As ``tollgate access key list --json``."""
    folder = console.settings.access_dir
    return [key_row(folder, found) for found in read_keys(folder)]


@router.post("/keys", dependencies=ALL_TENANTS, status_code=201)
def add_key(body: NewKey, caller: Administrator, console: Here) -> dict[str, Any]:
    """Make an API key; its text is shown once."""
    folder, now = console.settings.access_dir, console.door.now()
    made, text = make_key(
        folder, body.name, body.role, body.tenant, by=caller.name, now=now, per_second=body.per_second,
        expires_at=now + timedelta(days=body.days) if body.days else None,
    )  # fmt: skip
    return {**key_row(folder, made), "key": text}


@router.delete("/keys/{key_id}", dependencies=ALL_TENANTS, status_code=204)
def revoke_api_key(
    key_id: Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$")], caller: Administrator, console: Here
) -> None:
    """Revoke an API key."""
    try:
        revoke_key(console.settings.access_dir, key_id, by=caller.name, now=console.door.now())
    except AccessError as error:
        raise unknown(str(error)) from error


@router.get("/audit")
def audit(_: Reader, console: Here, last: Annotated[int, Query(ge=1, le=5000)] = 100) -> list[dict[str, Any]]:
    """As ``tollgate audit list --json``."""
    return console.outside.audit(last)


@router.post("/audit/verify")
def verify(_: Reader, console: Here) -> dict[str, Any]:
    """As ``tollgate audit verify --json``."""
    return console.outside.verify_audit()


def _link(console: Console, token: str, link: Link) -> dict[str, Any]:
    return {"link": f"{console.settings.console}/welcome#{token}", "expires_at": link.expires_at.isoformat()}
