"""Options that every command shares: which stack, and whether the answer is for a person or a program."""

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
    """Adds ``--home``; the command gets ``home``, an absolute Path (not necessarily existing)."""
    return click.option(
        "--home",
        metavar="DIR",
        callback=_remember,
        help="Folder of the stack (default: $TOLLGATE_HOME, else .tollgate here).",
    )(command)


def json_option(command: Command) -> Command:
    """Adds ``--json``; the command gets ``as_json``, a bool."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON value on standard output.")(command)
