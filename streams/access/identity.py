"""Who acts: a person or service with its private key. Key files: ``<home>/access/keys/NAME.key`` (PEM, mode 0600)."""

from __future__ import annotations

import getpass
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.bundle.signing import KeyProblem, ensure_key_file, read_key_file
from streams.access.directory import (
    AccessDenied,
    AccessError,
    Directory,
    Member,
    change_directory,
    check_free,
    public_text,
    read_directory,
    with_member,
    without_member,
)
from streams.access.roles import SERVICES, Role

#: names the file of one's own private key, where it does not lie under the stack's home
KEY_VARIABLE = "TOLLGATE_KEY"


@dataclass(frozen=True)
class Identity:
    """A member that can sign: its name, its private key, and the stack that its signatures are for."""

    name: str
    stack: str
    key: Ed25519PrivateKey


def user_name() -> str:
    """The name of the operating system's user, as a member's name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "operator"
    cleaned = re.sub(r"[^A-Za-z0-9._@-]", "-", name).lstrip("._@-")[:64] or "operator"
    return f"{cleaned}-user" if cleaned in SERVICES else cleaned


def prepare(folder: Path, now: datetime) -> None:
    """Make the keys of the stack's services, and on a stack without people an operator's key for the user who runs this."""
    for name in SERVICES:
        service(folder, name, now)
    if not read_directory(folder).people():
        change_directory(folder, lambda known: _with_operator(folder, known, now))


def service(folder: Path, name: str, now: datetime) -> Identity:
    """A service of the stack. A missing key is made; it replaces the one that was known before."""
    path = key_file(folder, name)
    known = read_directory(folder).active(name)
    if known is not None and path.exists():
        key = read_key_file(path)
        if public_text(key.public_key()) == known.key:
            return Identity(name, read_directory(folder).stack, key)

    def change(directory: Directory) -> Directory:
        key = _key(folder, name)
        before = directory.active(name)
        if before is not None and before.key == public_text(key.public_key()):
            return directory
        if before is not None:
            directory = without_member(directory, name, "tollgate", now)
        return with_member(directory, _member(name, "service", key.public_key(), "tollgate", now))

    directory = change_directory(folder, change)
    return Identity(name, directory.stack, read_key_file(path))


def add_person(
    folder: Path, name: str, role: Role, *, by: str, now: datetime, public_key: Ed25519PublicKey | None = None
) -> Member:
    """Make a person known. Without ``public_key`` a private key is made for them, ``key_file(folder, name)``.

    Raises:
        AccessError: the name is taken, or is no name.
    """
    if name in SERVICES:
        raise AccessError(f"{name} is the name of a service of the stack: choose another")

    def change(directory: Directory) -> Directory:
        check_free(directory, name)
        if public_key is None:
            # a person who was revoked and comes back gets a new key
            key_file(folder, name).unlink(missing_ok=True)
        made = public_key or _key(folder, name).public_key()
        return with_member(directory, _member(name, role, made, by, now))

    found = change_directory(folder, change).active(name)
    assert found is not None
    return found


def acting(folder: Path, name: str | None, now: datetime) -> Identity:
    """The person who acts: ``name``, else the owner of the key in ``TOLLGATE_KEY``, else the operating system's user.

    On a stack without people the user becomes its operator.

    Raises:
        AccessDenied: not known to this stack. AccessError: the private key is not here.
    """
    if not read_directory(folder).people():
        prepare(folder, now)
    directory = read_directory(folder)
    given = os.environ.get(KEY_VARIABLE)
    if given is not None:
        return _owner(directory, Path(given), name)
    wanted = name or user_name()
    member = directory.active(wanted)
    if member is None or wanted in SERVICES:
        known = ", ".join(m.name for m in directory.people())
        raise AccessDenied(
            f"{wanted} is not known to this stack: name one of {known} with --as, or `tollgate access add`"
        )
    try:
        key = read_key_file(key_file(folder, wanted))
    except KeyProblem as error:
        raise AccessError(f"{error}: set {KEY_VARIABLE} to the file of {wanted}'s private key") from error
    if public_text(key.public_key()) != member.key:
        raise AccessError(f"{key_file(folder, wanted)} is not the key that this stack knows of {wanted}")
    return Identity(wanted, directory.stack, key)


def key_file(folder: Path, name: str) -> Path:
    """Where a member's private key lies."""
    return Path(folder) / "keys" / f"{name}.key"


def _owner(directory: Directory, path: Path, name: str | None) -> Identity:
    try:
        key = read_key_file(path)
    except KeyProblem as error:
        raise AccessError(f"{KEY_VARIABLE}: {error}") from error
    text = public_text(key.public_key())
    member = next((m for m in directory.members if m.active and m.key == text), None)
    if member is None or name not in (None, member.name):
        whose = "of nobody whom this stack knows" if member is None else f"of {member.name}, not of {name}"
        raise AccessDenied(f"the key in {path} ({KEY_VARIABLE}) is {whose}")
    return Identity(member.name, directory.stack, key)


def _with_operator(folder: Path, known: Directory, now: datetime) -> Directory:
    """The directory with the user as operator; unchanged if another start has just made one."""
    if known.people():
        return known
    name = user_name()
    return with_member(known, _member(name, "operator", _key(folder, name).public_key(), name, now))


def _key(folder: Path, name: str) -> Ed25519PrivateKey:
    path = key_file(folder, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ensure_key_file(path)


def _member(name: str, role: Role, key: Ed25519PublicKey, by: str, now: datetime) -> Member:
    return Member(name=name, role=role, key=public_text(key), added_at=now, added_by=by)
