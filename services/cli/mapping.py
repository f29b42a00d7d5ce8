"""``tollgate mapping``: write a first mapping for a file, and see what a mapping makes of it before anything is sent."""

from __future__ import annotations

import contextlib
import json
from itertools import islice
from pathlib import Path

import click

from features.attributes import NO_ATTRIBUTES
from services.cli.terminal.options import (
    OUTPUT_FILE,
    FullHelpGroup,
    WholeNumber,
    file_argument,
    home_option,
    json_option,
    reply,
)
from streams.mapping import BUILTIN, ReplayFile, load_mapping
from streams.mapping.definition import FileRule, Mapping
from streams.mapping.fields.attributes import attributes_of
from streams.mapping.suggestion import TO_FILL_IN
from streams.mapping.suggestion import suggest as suggest_mapping
from streams.mapping.tokens import KEY_BYTES, KEY_FILE, load_or_create_key
from streams.runtime.settings import Settings, SettingsError, load_settings

#: help of ``--mapping`` wherever a command takes it
MAPPING_HELP = f"{', '.join(BUILTIN)}, or a TOML file."
_SHOWN = 5


@click.group(cls=FullHelpGroup)
def mapping() -> None:
    """Write a mapping for a file of your own, and check it."""


@mapping.command()
@file_argument
@click.option("--separator", help="Between the cells of a CSV file (default: found by looking).")
@click.option("--encoding", help="Of a CSV file, such as latin-1 (default: UTF-8, or UTF-16 with its mark).")
@click.option("--out", type=OUTPUT_FILE, help="Write here, not to standard output.")
@home_option
def suggest(file: Path, separator: str | None, encoding: str | None, out: Path | None, home: Path) -> None:
    """Write a mapping for FILE from the names and values of its columns, and from the attributes that the stack declares; each guess says why."""
    declared = NO_ATTRIBUTES
    with contextlib.suppress(SettingsError):
        declared = load_settings(home).declared
    text = suggest_mapping(file, FileRule(separator=separator, encoding=encoding), declared)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{out} cannot be written: {error.strerror}") from None
    for line in text.splitlines():
        if line.startswith(TO_FILL_IN):
            click.echo(line.removeprefix("# "), err=True)
    click.echo(f"{out}: now `tollgate mapping check {file} --mapping {out}`", err=True)


@mapping.command()
@file_argument
@click.option("--mapping", "name", required=True, metavar="M", help=MAPPING_HELP)
@click.option("--limit", type=WholeNumber(min=1), help="Read only the first rows.")
@home_option
@json_option
def check(file: Path, name: str, limit: int | None, home: Path, as_json: bool) -> None:
    """Read FILE through a mapping: show its first transactions as they would be sent, and what the rest of it holds."""
    rules = load_mapping(name)
    with contextlib.suppress(SettingsError):
        check_attributes(rules, load_settings(home))
    opened = ReplayFile(file, rules, _key(home) if rules.tokenises else None, limit)
    fit = (value for records in opened.accepted() for value in records.values)
    first = [json.loads(value) for value in islice(fit, _SHOWN)]
    lines = [*(json.dumps(value, ensure_ascii=False) for value in first), "", *opened.report.lines()]
    reply({"transactions": first, "file": opened.report.to_json()}, as_json, lines)


def check_attributes(rules: Mapping, settings: Settings) -> None:
    """Compare the attributes that a mapping fills with those that a stack declares; those that it does not know are said.

    Raises:
        UsageError: one has another type there.
    """
    own = attributes_of(rules).declared
    for name, found in own.items():
        declared = settings.declared.type_of(name)
        if declared not in (None, found.type):
            raise click.UsageError(
                f'the mapping says attributes.{name} is a {found.type}, the stack\'s settings.toml says {declared}: give its rule type = "{declared}"'
            )
    unknown = [name for name in own if settings.declared.type_of(name) is None]
    if unknown:
        click.echo(
            f"attributes that the stack ignores, because its settings.toml does not declare them: {', '.join(unknown)}",
            err=True,
        )


def _key(home: Path) -> bytes:
    """The stack's key where there is a stack, so that tokens are those that it will see; else any."""
    try:
        keys = load_settings(home).keys_dir
    except SettingsError:
        return bytes(KEY_BYTES)
    return load_or_create_key(keys) if (keys / KEY_FILE).exists() else bytes(KEY_BYTES)
