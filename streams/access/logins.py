"""Passwords of people for the console, and one-time links to set one: ``<home>/access/logins.json``.

A person is known by the directory; a login adds a password (Argon2id, RFC 9106) and the tenants that the person may see. There is no
default password: the first comes from a link, which is shown once and of which only the SHA-256 is stored.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from streams.access.directory import AccessError, Member, read_directory
from streams.access.private_files import locked, write_private

LOGINS_FILE = "logins.json"
#: how long a one-time link opens
LINK_LIVES = timedelta(hours=24)
MIN_PASSWORD, MAX_PASSWORD = 12, 256
#: OWASP's second choice: 19 MiB, so that a few sign-ins at once fit a small machine
_MEMORY_KIB, _ROUNDS, _LANES, _SALT, _LENGTH = 19_456, 3, 1, 16, 32


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time link. ``sha256``: of its token, in hex."""

    sha256: str
    expires_at: datetime
    made_by: str


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """How a person signs in. ``password``: Argon2id in the PHC form, empty before the first link was used. ``tenants``: those
    whose payments the person sees; empty: all. ``member_since``: when the directory's member was added that this is the login of:
    who is revoked and comes back under the name does not inherit the password.
    """

    name: str
    member_since: datetime
    password: str = ""
    tenants: tuple[str, ...] = ()
    link: Link | None = None


def read_logins(folder: Path) -> dict[str, Login]:
    """All logins by name; empty where none was made.

    Raises:
        AccessError: the file does not parse.
    """
    path = folder / LOGINS_FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[Login])
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AccessError(f"{path} does not parse ({error}): restore it from a backup") from error
    return {login.name: login for login in found}


def login_of(folder: Path, name: str) -> Login | None:
    """The login of an active person; None where there is none."""
    member = read_directory(folder).active(name)
    login = read_logins(folder).get(name)
    return (
        login if member is not None and login is not None and login.member_since == member.added_at else None
    )


def make_link(
    folder: Path, name: str, *, by: str, now: datetime, tenants: Sequence[str] | None = None
) -> tuple[str, Link]:
    """A token with which a person sets a password, once, within ``LINK_LIVES``; an earlier link of theirs stops to count.

    Args:
        tenants: whose payments the person sees from now on; None: as before.

    Raises:
        AccessError: there is no such person, or it is a program.
    """
    since = _person(folder, name).added_at
    token = secrets.token_urlsafe(32)
    link = Link(sha256=_digest(token), expires_at=now + LINK_LIVES, made_by=by)

    def change(logins: dict[str, Login]) -> Login:
        before = _own(logins, name, since)
        shown = before.tenants if tenants is None else tuple(tenants)
        return msgspec.structs.replace(before, link=link, tenants=shown)

    _change(folder, change)
    return token, link


def link_owner(folder: Path, token: str, now: datetime) -> Login | None:
    """The login that a token opens; None if it is wrong, used or too old, or its person is not known any more."""
    digest = _digest(token)
    for login in read_logins(folder).values():
        if login.link is not None and secrets.compare_digest(login.link.sha256, digest):
            known = login_of(folder, login.name)
            return login if known is not None and now < login.link.expires_at else None
    return None


def use_link(folder: Path, token: str, password: str, now: datetime) -> Login:
    """Set the password that a link is for; the link is worth nothing afterwards.

    Raises:
        AccessError: the link does not count, or the password does not fit.
    """
    check_password(password)
    hashed = hash_password(password)

    def change(logins: dict[str, Login]) -> Login:
        # looked up under the lock: two who use a link at once do not both succeed
        owner = link_owner(folder, token, now)
        if owner is None:
            raise AccessError("the link was used, is too old or was never made: ask for another")
        return msgspec.structs.replace(logins[owner.name], password=hashed, link=None)

    return _change(folder, change)


def set_password(folder: Path, name: str, password: str) -> Login:
    """Replace a person's password. Raises: AccessError: it does not fit, or there is no such person."""
    check_password(password)
    since = _person(folder, name).added_at
    hashed = hash_password(password)
    return _change(
        folder,
        lambda logins: msgspec.structs.replace(_own(logins, name, since), password=hashed, link=None),
    )


def check_password(password: str) -> None:
    """Raises: AccessError: too short or too long."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise AccessError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")


def hash_password(password: str) -> str:
    """Argon2id of a password, in the PHC form, with a salt of its own. Takes about 50 ms and 19 MiB."""
    made = Argon2id(
        salt=os.urandom(_SALT), length=_LENGTH, iterations=_ROUNDS, lanes=_LANES, memory_cost=_MEMORY_KIB
    )
    return str(made.derive_phc_encoded(password.encode()))


@cache
def _nobodys() -> str:
    """Checked in place of a missing password, so that an unknown name takes as long as a known one."""
    return hash_password(secrets.token_urlsafe(32))


def password_fits(login: Login | None, password: str) -> bool:
    """Whether this is the person's password; takes as long for a person without one."""
    known = login.password if login is not None else ""
    hashed = known or _nobodys()
    try:
        Argon2id.verify_phc_encoded(password.encode(), hashed)
    except InvalidKey:
        return False
    return bool(known)


def _own(logins: dict[str, Login], name: str, since: datetime) -> Login:
    """The login of the member that was added then, or a new one."""
    found = logins.get(name)
    return (
        found if found is not None and found.member_since == since else Login(name=name, member_since=since)
    )


def _person(folder: Path, name: str) -> Member:
    member = read_directory(folder).active(name)
    if member is None or member.role == "service":
        raise AccessError(
            f"{name} is no person whom this stack knows: `tollgate access add {name} --role ROLE`"
        )
    return member


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _change(folder: Path, change: Callable[[dict[str, Login]], Login]) -> Login:
    with locked(folder):
        logins = read_logins(folder)
        after = change(logins)
        logins[after.name] = after
        write_private(folder / LOGINS_FILE, msgspec.json.format(msgspec.json.encode(list(logins.values()))))
    return after
