"""``--as`` and ``--by``: the person who acts, and signs what a command asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from streams.access.directory import read_directory
from streams.access.identity import Identity, acting
from streams.access.roles import Permission
from streams.runtime.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def as_option(command: Command) -> Command:
    """Add ``--as``; the command gets ``person``, a name or None."""
    return click.option("--as", "person", metavar="NAME", help="Who signs (`tollgate access list`).  [default: you]")(command)  # fmt: skip


def person_options(recorded: str) -> Callable[[Command], Command]:
    """Add ``--as`` and ``--by``; the command gets ``person`` and ``by``, each a name or None. ``recorded``: where."""

    def add(command: Command) -> Command:
        by = click.option("--by", metavar="NAME", help=f"Name {recorded}; a known person signs too.  [default: who signs]")  # fmt: skip
        return as_option(by(command))

    return add


def signing_name(access_dir: Path, person: str | None, by: str | None) -> str | None:
    """The person to sign as: ``person``, else ``by`` if that is somebody whom the stack knows; None: the user."""
    if person is None and by is not None and read_directory(access_dir).active(by) is not None:
        return by
    return person


def require(
    settings: Settings, permission: Permission, person: str | None, by: str | None, now: datetime
) -> Identity:
    """Who acts, if their role includes a permission.

    Raises:
        AccessDenied, AccessError.
    """
    identity = acting(settings.access_dir, signing_name(settings.access_dir, person, by), now)
    read_directory(settings.access_dir).require(identity.name, permission)
    return identity
