"""The people and services that a stack knows, with role and public key: ``<home>/access/directory.json``.

Whoever can write this file decides who is known, so it lies in a folder of mode 0700. It is replaced whole, under a lock, and
read again for every check, so a revocation counts from the next check on.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from streams.access.private_files import locked, write_private
from streams.access.roles import Permission, Role, may, roles_with

DIRECTORY_FILE = "directory.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class AccessError(Exception):
    """A name, key or role does not fit; the text says what to do."""

    exit_code = 2


class AccessDenied(Exception):
    """The one who asks is known, but may not do this; the text says who may."""

    exit_code = 1


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A person, or one of the stack's services. ``key``: the Ed25519 public key, 32 bytes in base64."""

    name: str
    role: Role
    key: str
    added_at: datetime
    added_by: str
    revoked_at: datetime | None = None
    revoked_by: str | None = None

    @property
    def active(self) -> bool:
        return self.revoked_at is None

    @property
    def public_key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(b64decode(self.key))

    def may(self, permission: Permission) -> bool:
        return self.active and may(self.name, self.role, permission)


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """All members, also revoked ones. ``stack``: random; part of every signature, so that none counts on another stack."""

    stack: str
    members: list[Member] = []

    def active(self, name: str) -> Member | None:
        """The member of this name that is not revoked."""
        return next((m for m in self.members if m.name == name and m.active), None)

    def people(self) -> list[Member]:
        """Active people, without services and programs."""
        return [m for m in self.members if m.active and m.role != "service"]

    def require(self, name: str, permission: Permission) -> Member:
        """The active member of this name.

        Raises:
            AccessDenied: not known, or its role lacks the permission.
        """
        member = self.active(name)
        if member is None:
            known = ", ".join(m.name for m in self.people()) or "nobody"
            raise AccessDenied(
                f"{name} is not known to this stack (known: {known}): `tollgate access add {name} --role ROLE`"
            )
        if not member.may(permission) and not self._without_admin(member, permission):
            wanted = " or ".join(roles_with(permission)) or "a service of the stack"
            raise AccessDenied(f"{name} has the role {member.role}: {permission} takes {wanted}")
        return member

    def _without_admin(self, member: Member, permission: Permission) -> bool:
        """While a stack has no admin, its operator says who is known."""
        return (
            permission == "access"
            and member.role == "operator"
            and not any(m.role == "admin" for m in self.people())
        )


def may_add_people(directory: Directory, name: str) -> bool:
    """Whether a person says who is known: an admin, or while there is none an operator."""
    try:
        directory.require(name, "access")
    except AccessDenied:
        return False
    return True


def read_directory(folder: Path) -> Directory:
    """The directory of ``<home>/access``; without members where there is none yet.

    Raises:
        AccessError: the file does not parse.
    """
    path = Path(folder) / DIRECTORY_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Directory)
    except FileNotFoundError:
        return Directory(stack="")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AccessError(f"{path} does not parse ({error}): restore it from a backup") from error


def change_directory(folder: Path, change: Callable[[Directory], Directory]) -> Directory:
    """Replace the directory by ``change`` of it, with no other writer in between; returns the new one."""
    with locked(Path(folder)):
        before = read_directory(folder)
        if not before.stack:
            before = Directory(stack=secrets.token_hex(8))
        after = change(before)
        write_private(Path(folder) / DIRECTORY_FILE, msgspec.json.format(msgspec.json.encode(after)))
    return after


def with_member(directory: Directory, member: Member) -> Directory:
    """The directory with one more member.

    Raises:
        AccessError: the name is taken or not a name.
    """
    check_free(directory, member.name)
    return msgspec.structs.replace(directory, members=[*directory.members, member])


def without_member(directory: Directory, name: str, by: str, now: datetime) -> Directory:
    """The directory with a member revoked. Raises: AccessError when nobody active has this name."""
    if directory.active(name) is None:
        raise AccessError(f"{name} is not known to this stack, or was revoked: see `tollgate access list`")
    members = [
        msgspec.structs.replace(m, revoked_at=now, revoked_by=by) if m.name == name and m.active else m
        for m in directory.members
    ]
    return msgspec.structs.replace(directory, members=members)


def check_free(directory: Directory, name: str) -> None:
    """Raises: AccessError when the name is taken, or is no name. It is also the name of a key file."""
    if directory.active(name) is not None:
        raise AccessError(f"{name} is known already: revoke first, `tollgate access revoke {name}`")
    if not _NAME.fullmatch(name):
        raise AccessError(f"{name!r} is no name: 1 to 64 letters, digits or . _ @ -, first a letter or digit")


def public_text(key: Ed25519PublicKey) -> str:
    """A public key as ``Member.key`` has it."""
    return b64encode(key.public_bytes_raw()).decode()
