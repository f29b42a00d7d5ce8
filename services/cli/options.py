"""Options that every command shares: ``--home`` and ``--json``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from streams.runtime.settings import find_home

Command = TypeVar("Command", bound=Callable[..., Any])


def _remember(context: click.Context, _parameter: click.Parameter, value: str | None) -> Path:
    home = find_home(value)
    state = context.find_root().ensure_object(dict)
    state["home"] = home
    return home


def home_option(command: Command) -> Command:
    """Add ``--home``; the command gets ``home``, an absolute path that need not exist."""
    return click.option(
        "--home",
        metavar="DIR",
        callback=_remember,
        help="Folder of the stack (default: $TOLLGATE_HOME, else ./.tollgate).",
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``; the command gets ``as_json``, a bool."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON to standard output.")(command)
