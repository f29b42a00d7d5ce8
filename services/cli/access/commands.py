"""``tollgate access``: the people whom a stack knows, their roles and keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import click

from models.bundle.signing import read_public_key_file
from services.cli.access.api_keys import key
from services.cli.access.rows import member_row
from services.cli.models.files import settings_of
from services.cli.person import as_option, require
from services.cli.terminal.options import INPUT_FILE, home_option, json_option, reply
from streams.access.directory import AccessError, change_directory, read_directory, without_member
from streams.access.identity import KEY_VARIABLE, add_person, key_file
from streams.access.logins import make_link
from streams.access.roles import ROLES, SERVICES, Role


@click.group()
def access() -> None:
    """Say who may change what: people with roles and keys of their own, programs with API keys."""


access.add_command(key)


@access.command()
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What the person may do (SECURITY.md).")
@click.option(
    "--public-key",
    type=INPUT_FILE,
    help="The person's own Ed25519 public key (PEM); default: a key is made here.",
)
@as_option
@home_option
@json_option
def add(name: str, role: str, public_key: Path | None, person: str | None, home: Path, as_json: bool) -> None:
    """Make a person known, with a role. Commands take the name with --as."""
    settings, now = settings_of(home), datetime.now(UTC)
    by = require(settings, "access", person, None, now)
    own = read_public_key_file(public_key) if public_key is not None else None
    member = add_person(settings.access_dir, name, cast(Role, role), by=by.name, now=now, public_key=own)
    path = None if own is not None else str(key_file(settings.access_dir, name))
    text = f"{name} is {role}" + (
        f"; private key: {path} (keep it yourself and name it in {KEY_VARIABLE}, or use --as {name} here)"
        if path
        else f"; signs with the private half of {public_key}, named in {KEY_VARIABLE}"
    )
    reply({**member_row(member), "key_file": path}, as_json, text)


@access.command("list")
@home_option
@json_option
def list_members(home: Path, as_json: bool) -> None:
    """List people and services, also revoked ones."""
    rows = [member_row(member) for member in read_directory(settings_of(home).access_dir).members]
    lines = [f"{'name':<20} {'role':<9} {'added':<20} {'by':<16} revoked"]
    lines += [
        f"{row['name']:<20} {row['role']:<9} {row['added_at'][:19]:<20} {row['added_by']:<16} {row['revoked_at'] or ''}".rstrip()
        for row in rows
    ]
    reply(rows, as_json, lines if rows else "nobody is known yet: `tollgate up` makes you the operator")


@access.command()
@click.argument("name")
@as_option
@home_option
@json_option
def revoke(name: str, person: str | None, home: Path, as_json: bool) -> None:
    """Revoke a person: nothing that they sign counts from now on."""
    settings, now = settings_of(home), datetime.now(UTC)
    by = require(settings, "access", person, None, now)
    if name in SERVICES:
        path = key_file(settings.access_dir, name)
        raise AccessError(
            f"{name} is a service of the stack: `tollgate down`, remove {path}, `tollgate up` replaces its key"
        )
    if name == by.name:
        raise AccessError(f"{name} cannot revoke themselves: another admin or operator must (`--as NAME`)")
    change_directory(settings.access_dir, lambda known: without_member(known, name, by.name, now))
    revoked = [m for m in read_directory(settings.access_dir).members if m.name == name][-1]
    reply(member_row(revoked), as_json, f"{name} is revoked")


@access.command()
@click.argument("name")
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="T",
    help="Show this tenant's payments only (repeat for several).  [default: as before, at first all]",
)
@as_option
@home_option
@json_option
def link(name: str, tenants: tuple[str, ...], person: str | None, home: Path, as_json: bool) -> None:
    """Print a one-time link to the console.

    It opens once, within 24 hours, and lets the person set a password.
    """
    settings, now = settings_of(home), datetime.now(UTC)
    by = require(settings, "access", person, None, now)
    token, made = make_link(settings.access_dir, name, by=by.name, now=now, tenants=tenants or None)
    address = f"{settings.console}/welcome#{token}"
    value = {"person": name, "link": address, "expires_at": made.expires_at.isoformat()}
    reply(value, as_json, f"{address}\nfor {name}, once, until {made.expires_at:%Y-%m-%d %H:%M} UTC")
