"""``tollgate access key``: API keys of the HTTP edge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import click

from services.cli.access.rows import key_row
from services.cli.models.files import settings_of
from services.cli.person import as_option, require
from services.cli.terminal.options import Number, WholeNumber, home_option, json_option, reply
from streams.access.api_keys import ApiKey, make_key, read_keys, revoke_key
from streams.access.roles import ROLES, Role


@click.group()
def key() -> None:
    """Make, list and revoke API keys of the HTTP edge."""


@key.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice(ROLES), default="service", show_default=True, help="What the key may do."
)
@click.option("--tenant", default="default", show_default=True, help="Whose transactions it sends and reads.")
@click.option("--days", type=WholeNumber(1, 3_650), help="Days until it expires; default: never.")
@click.option("--per-second", type=Number(min=0, min_open=True), help="Transactions a second; default: as the tenant's.")  # fmt: skip
@as_option
@home_option
@json_option
def add(
    name: str, role: str, tenant: str, days: int | None, per_second: float | None, person: str | None, home: Path, as_json: bool
) -> None:  # fmt: skip
    """Make a key for the program NAME. It is shown once: only its hash is stored."""
    settings, now = settings_of(home), datetime.now(UTC)
    by = require(settings, "access", person, None, now)
    made, text = make_key(
        settings.access_dir, name, cast(Role, role), tenant, by=by.name, now=now, per_second=per_second,
        expires_at=now + timedelta(days=days) if days else None,
    )  # fmt: skip
    told = f"{text}\n{name} may {', '.join(sorted(_http_permissions(made)))} for tenant {tenant}; the key is not shown again"
    reply({**key_row(settings.access_dir, made), "key": text}, as_json, told)


@key.command("list")
@home_option
@json_option
def list_keys(home: Path, as_json: bool) -> None:
    """List keys, also revoked and expired ones, with their last use."""
    folder = settings_of(home).access_dir
    rows = [key_row(folder, found) for found in read_keys(folder)]
    lines = [f"{'id':<13} {'name':<16} {'role':<9} {'tenant':<16} {'state':<8} {'last use':<20} expires"]
    lines += [
        f"{row['id']:<13} {row['name']:<16} {row['role']:<9} {row['tenant']:<16} {row['state']:<8} {(row['last_use'] or 'never')[:19]:<20} "
        f"{(row['expires_at'] or 'never')[:19]}"
        for row in rows
    ]
    reply(rows, as_json, lines if rows else "no API key was made: `tollgate access key add NAME`")


@key.command()
@click.argument("key_id", metavar="ID")
@as_option
@home_option
@json_option
def revoke(key_id: str, person: str | None, home: Path, as_json: bool) -> None:
    """Revoke a key by its ID: the edge then refuses it.

    That takes about a second.
    """
    settings, now = settings_of(home), datetime.now(UTC)
    by = require(settings, "access", person, None, now)
    revoked = revoke_key(settings.access_dir, key_id, by=by.name, now=now)
    reply(key_row(settings.access_dir, revoked), as_json, f"API key {key_id} of {revoked.name} is revoked")


def _http_permissions(made: ApiKey) -> list[str]:
    return [permission for permission in ("score", "label", "read") if made.may(permission)]  # type: ignore[arg-type]
