"""What commands share: options and their types, the answer as text or JSON, and a group whose list of commands cuts no text."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from features.identity import DEFAULT_TENANT
from streams.runtime.settings import find_home

Command = TypeVar("Command", bound=Callable[..., Any])
#: a file that is there; one to write
INPUT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path)
file_argument = click.argument("file", type=INPUT_FILE)


class Number(click.FloatRange):
    """A number within bounds, called so in help and errors."""

    name = "number"


class WholeNumber(click.IntRange):
    """A whole number within bounds, called so in help and errors."""

    name = "whole number"


class FullHelpGroup(click.Group):
    """A group that lists its commands with the whole first sentence of their help, over several lines where needed."""

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(context)
        if args and args[0] not in known and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], known, 1)
            context.fail(f"no such command: {args[0]}" + (f"; did you mean {close[0]}?" if close else ""))
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(context, name)) for name in self.list_commands(context)]
        rows = [(name, command.get_short_help_str(limit=1_000)) for name, command in commands if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _remember(context: click.Context, _parameter: click.Parameter, value: str | None) -> Path:
    home = find_home(value)
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    if not nearest.is_dir():
        raise click.BadParameter(f"{nearest} is a file, not the folder of a stack")
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


def reply(value: Any, as_json: bool, text: str | Iterable[str]) -> None:
    """Print a command's answer: ``value`` as JSON, or ``text`` (lines are joined)."""
    click.echo(json.dumps(value) if as_json else text if isinstance(text, str) else "\n".join(text))


def transaction_argument(command: Command) -> Command:
    """Add ID and ``--tenant``, which together name one transaction."""
    command = click.option(
        "--tenant", default=DEFAULT_TENANT, show_default=True, metavar="NAME", help="Whose transaction."
    )(command)
    return click.argument("transaction_id", metavar="ID")(command)
