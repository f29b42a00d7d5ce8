"""Sign in, sign out, one-time links, one's own password."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from services.console.kept.rows import instant
from services.console.people.caller import ALL_TENANTS, GLASS, PERMISSIONS, Here, SignedIn, cookie_name
from services.console.people.sessions import LONGEST_S, Session, ends_at
from services.console.problems import Problem, forbidden, invalid, unknown
from services.console.routes.asking import Reason
from services.console.wiring import Console
from streams.access.directory import AccessDenied, AccessError, Directory, read_directory
from streams.access.identity import key_file
from streams.access.logins import link_owner, login_of, password_fits, read_logins, set_password
from streams.access.roles import Permission

router = APIRouter(prefix="/api/v1", tags=["session"])


class SignIn(BaseModel):
    """A name and its password."""

    name: str = Field(min_length=1, max_length=64)
    password: str = Field(min_length=1, max_length=256)


class Token(BaseModel):
    """The token of a one-time link."""

    token: str = Field(min_length=1, max_length=128)


class FirstPassword(Token):
    """The token of a one-time link, and the password to set."""

    password: str = Field(max_length=1024)


class NewPassword(BaseModel):
    """One's own password, and the one that replaces it."""

    current: str = Field(max_length=1024)
    new: str = Field(max_length=1024)


class Emergency(Reason):
    """How long a person may do what an emergency needs."""

    minutes: int = Field(default=30, ge=1, le=60)


class SessionAnswer(BaseModel):
    """Who is signed in, and what they may do. ``tenants``: whose payments they see, empty: all. ``can_sign``: whether their private
    key is on this machine; without it they approve, reject and propose by the CLI, on their own machine.
    """

    person: str
    role: str
    permissions: list[str]
    tenants: list[str]
    can_sign: bool
    expires_at: str
    home: str
    version: str
    console: dict[str, Any]
    glass_until: str | None
    review_within_s: int


class Setup(BaseModel):
    """How many people have a password, the provider through which people sign in, and whether a password counts beside it."""

    people_with_password: int
    provider: str | None
    passwords: bool


class Welcome(BaseModel):
    """Whom a one-time link is for."""

    person: str
    role: str
    expires_at: str


@router.get("/session")
def session(caller: SignedIn, console: Here) -> SessionAnswer:
    """Who is signed in."""
    return _answer(console, caller.session)


@router.post("/session")
def sign_in(body: SignIn, request: Request, response: Response, console: Here) -> SessionAnswer:
    """Sign in with a name and a password."""
    _check_passwords(console)
    token, made = console.door.enter(body.name, body.password, address_of(request))
    return _signed_in(console, response, token, made)


@router.post("/session/break-glass", dependencies=ALL_TENANTS)
def break_glass(body: Emergency, caller: SignedIn, console: Here) -> SessionAnswer:
    """Take the rights that an emergency needs (silences, dead letters, labels) for a while. It needs a reason, is audited, and pages."""
    made = console.door.break_glass(caller.token, caller.session, caller.member.role, body.why, body.minutes)
    return _answer(console, made)


@router.delete("/session", status_code=204)
def sign_out(caller: SignedIn, console: Here, response: Response) -> None:
    """Sign out."""
    console.door.leave(caller.token, caller.session)
    response.delete_cookie(
        cookie_name(console), path="/", secure=console.secure, httponly=True, samesite="strict"
    )


@router.get("/setup")
def setup(console: Here) -> Setup:
    """Whether anybody can sign in yet."""
    folder = console.settings.access_dir
    ready = [
        n for n, found in read_logins(folder).items() if found.password and login_of(folder, n) is not None
    ]
    part = console.settings.elsewhere.oidc
    return Setup(
        people_with_password=len(ready),
        provider=None if part is None else urlsplit(part.issuer).netloc,
        passwords=part is None or part.passwords,
    )


@router.post("/welcome/look")
def look(body: Token, console: Here) -> Welcome:
    """Whom a one-time link is for."""
    folder = console.settings.access_dir
    login = link_owner(folder, body.token, console.door.now())
    member = read_directory(folder).active(login.name) if login is not None else None
    if login is None or login.link is None or member is None:
        raise unknown("the link was used, is too old or was never made: ask for another")
    return Welcome(person=login.name, role=member.role, expires_at=login.link.expires_at.isoformat())


@router.post("/welcome")
def welcome(body: FirstPassword, request: Request, response: Response, console: Here) -> SessionAnswer:
    """Set a password by a one-time link, and sign in."""
    _check_passwords(console)
    if link_owner(console.settings.access_dir, body.token, console.door.now()) is None:
        raise unknown("the link was used, is too old or was never made: ask for another")
    try:
        token, made = console.door.enter_by_link(body.token, body.password, address_of(request))
    except AccessError as error:
        raise invalid("password", str(error)) from error
    return _signed_in(console, response, token, made)


@router.put("/session/password", status_code=204)
def change_password(body: NewPassword, caller: SignedIn, console: Here) -> None:
    """Replace one's own password."""
    folder = console.settings.access_dir
    if console.sessions.attempts(f"password:{caller.name}", 300) > 10:
        raise Problem(429, "too_many", "too many attempts: try again in five minutes", retry_after_s=300)
    if not password_fits(login_of(folder, caller.name), body.current):
        raise Problem(401, "wrong_credentials", "the current password is wrong", "current")
    try:
        set_password(folder, caller.name, body.new)
    except AccessError as error:
        raise invalid("new", str(error)) from error
    console.door.note("password set", caller.name, caller.member.role, "by the person", once=False)


def _check_passwords(console: Console) -> None:
    """Raises: Problem 403: people sign in through the provider only."""
    part = console.settings.elsewhere.oidc
    if part is not None and not part.passwords:
        raise forbidden(f"people sign in through {urlsplit(part.issuer).netloc} here, not with a password")


def _signed_in(console: Console, response: Response, token: str, made: Session) -> SessionAnswer:
    set_session_cookie(console, response, token)
    return _answer(console, made)


def set_session_cookie(console: Console, response: Response, token: str) -> None:
    """Let the browser keep a session's token."""
    response.set_cookie(
        cookie_name(console),
        token,
        max_age=LONGEST_S,
        path="/",
        secure=console.secure,
        httponly=True,
        samesite="strict",
    )


def _answer(console: Console, session: Session) -> SessionAnswer:
    folder = console.settings.access_dir
    directory = read_directory(folder)
    member = directory.active(session.name)
    login = login_of(folder, session.name)
    tenants = login.tenants if login is not None else ()
    emergency = session.glass_until_s > console.clock() and not tenants
    return SessionAnswer(
        person=session.name, role=member.role if member is not None else "",
        permissions=[each for each in PERMISSIONS if (emergency and each in GLASS) or may(directory, session.name, each)],
        tenants=list(tenants), can_sign=key_file(folder, session.name).exists(),
        expires_at=ends_at(session, console.clock()).isoformat(), home=console.settings.home, version=console.version,
        console=console.behind(), glass_until=instant(session.glass_until_s * 1000) if emergency else None,
        review_within_s=60 * console.settings.review.within_minutes,
    )  # fmt: skip


def may(directory: Directory, name: str, permission: Permission) -> bool:
    """Whether a person may do this."""
    try:
        directory.require(name, permission)
    except AccessDenied:
        return False
    return True


def address_of(request: Request) -> str:
    """Who asks, for limits."""
    return request.client.host if request.client is not None else "unknown"
