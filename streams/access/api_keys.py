"""API keys of the HTTP edge: ``tg_<id>_<secret>``, of which only the SHA-256 is stored, in ``<home>/access/api-keys.json``.

The secret has 256 random bits, so its hash needs no salt and no slow function. It is shown once, when the key is made.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from streams.access.directory import AccessError
from streams.access.private_files import locked, write_private
from streams.access.roles import MAY, Permission, Role

KEYS_FILE = "api-keys.json"
#: one empty file per key, whose time says when the key was last used
USED_FOLDER = "api-keys-used"
PREFIX = "tg_"


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key. ``sha256``: of the whole key, in hex. ``per_second``: transactions a second, None: as the tenant's."""

    id: str
    name: str
    role: Role
    tenant: str
    sha256: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    per_second: float | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None

    def may(self, permission: Permission) -> bool:
        return permission in MAY[self.role]


def make_key(
    folder: Path, name: str, role: Role, tenant: str, *, by: str, now: datetime, expires_at: datetime | None,
    per_second: float | None,
) -> tuple[ApiKey, str]:  # fmt: skip
    """Make and store a key; returns it with the text that its owner sends, which is not stored."""
    made = secrets.token_hex(6)
    text = f"{PREFIX}{made}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        id=made, name=name, role=role, tenant=tenant, sha256=hashlib.sha256(text.encode()).hexdigest(), created_at=now,
        created_by=by, expires_at=expires_at, per_second=per_second,
    )  # fmt: skip
    _change(folder, lambda keys: [*keys, key])
    return key, text


def revoke_key(folder: Path, key_id: str, *, by: str, now: datetime) -> ApiKey:
    """Revoke a key.

    Raises:
        AccessError: there is no such key, or it is revoked.
    """

    def change(keys: list[ApiKey]) -> list[ApiKey]:
        if not any(key.id == key_id and key.revoked_at is None for key in keys):
            raise AccessError(f"no API key {key_id}, or it is revoked: see `tollgate access key list`")
        return [
            msgspec.structs.replace(key, revoked_at=now, revoked_by=by) if key.id == key_id else key
            for key in keys
        ]

    return next(key for key in _change(folder, change) if key.id == key_id)


def read_keys(folder: Path) -> list[ApiKey]:
    """All keys, also revoked ones; empty where none was made.

    Raises:
        AccessError: the file does not parse.
    """
    path = folder / KEYS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ApiKey])
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise AccessError(f"{path} does not parse ({error}): restore it from a backup") from error


def note_use(folder: Path, key_id: str) -> None:
    """Note that a key is used now."""
    path = folder / USED_FOLDER / key_id
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    os.utime(path)


def last_use_s(folder: Path, key_id: str) -> float | None:
    """When a key was last used, in seconds since 1970, to about a minute; None: never."""
    try:
        return (folder / USED_FOLDER / key_id).stat().st_mtime
    except FileNotFoundError:
        return None


def _change(folder: Path, change: Callable[[list[ApiKey]], list[ApiKey]]) -> list[ApiKey]:
    with locked(folder):
        after = change(read_keys(folder))
        write_private(folder / KEYS_FILE, msgspec.json.format(msgspec.json.encode(after)))
    return after
