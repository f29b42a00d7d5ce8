"""Members and API keys as the commands and the console show them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streams.access.api_keys import ApiKey, last_use_s
from streams.access.directory import Member


def member_row(member: Member) -> dict[str, Any]:
    """A member as ``--json`` shows it."""
    return {
        "name": member.name, "role": member.role, "active": member.active, "key": member.key,
        "added_at": member.added_at.isoformat(), "added_by": member.added_by,
        "revoked_at": member.revoked_at.isoformat() if member.revoked_at else None, "revoked_by": member.revoked_by,
    }  # fmt: skip


def key_row(folder: Path, found: ApiKey) -> dict[str, Any]:
    """A key as ``--json`` shows it, without its text, which is not stored."""
    used_s = last_use_s(folder, found.id)
    expired = found.expires_at is not None and found.expires_at <= datetime.now(UTC)
    return {
        "id": found.id, "name": found.name, "role": found.role, "tenant": found.tenant, "per_second": found.per_second,
        "state": "revoked" if found.revoked_at else "expired" if expired else "active",
        "created_at": found.created_at.isoformat(), "created_by": found.created_by,
        "expires_at": found.expires_at.isoformat() if found.expires_at else None,
        "last_use": datetime.fromtimestamp(used_s, UTC).isoformat() if used_s is not None else None,
        "revoked_at": found.revoked_at.isoformat() if found.revoked_at else None, "revoked_by": found.revoked_by,
    }  # fmt: skip
