"""At 3 a.m. nobody looks a command up: what runbooks and alerts say to type is taken by the command line, and files have their names."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import click
import pytest
from prometheus_client import REGISTRY

import streams.runtime.metrics  # registers every metric
from infra.stack.health.causes import ORDER
from infra.stack.ports import settings_for
from infra.stack.programs import programs
from infra.stack.tools import CHECKOUT, find_tools
from services.cli.main import cli
from tests.support.runbooks import PAGES, all_commands, commands, filled, spans


def parse(words: list[str]) -> None:
    """Read a command line as the command does, without running it.

    Raises:
        click.UsageError: it is refused.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="tollgate", obj={})
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        if isinstance(found, click.Group):
            context = click.Context(found, info_name=name, parent=context, obj={})
        command, last = found, name
    command.make_context(last, list(words), parent=context)


@pytest.mark.parametrize(
    ("page", "words"), all_commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_command_is_taken(page: str, words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("{}")
    try:
        parse(filled(words, file))
    except click.ClickException as error:
        raise AssertionError(f"{page}: tollgate {' '.join(words)}: {error.format_message()}") from error


def test_what_is_no_command_is_found() -> None:
    for text in (
        "`tollgate silence`",
        "`tollgate skip transactions`",
        "`tollgate pages --histroy 3`",
        "`tollgate stop`",
    ):
        (words,) = commands(text)
        with pytest.raises(click.UsageError):
            parse(words)


@pytest.mark.parametrize("page", PAGES)
def test_files_metrics_and_other_pages_have_their_names(page: str, tmp_path: Path) -> None:
    text = PAGES[page]
    table = programs(settings_for(tmp_path, 21_000), find_tools())
    logs = {*(f"{program.name}.log" for program in table), "supervisord.log", "drift-0.log"}
    for name in re.findall(r"<home>/logs/([^\s`,;:()]+\.log)\b", text):
        if name != "NAME.log" and not name.startswith("<"):
            assert fnmatch.filter(logs, name), f"no process writes {name}"
    families = {family.name for family in REGISTRY.collect()}
    assert streams.runtime.metrics.TRANSACTIONS is not None
    for name in re.findall(r"\btollgate_[a-z_]+", text):
        assert re.sub(r"_(total|bucket|count)$", "", name) in families, f"no metric {name}"
    for name in re.findall(r"\b(?:[Ss]ee|alert|page) `?([A-Z][a-z]+(?:[A-Z][a-z]+)+)\b", text):
        assert name in PAGES, f"no page {name}"
    for name in re.findall(r"\binfra/[\w/.-]+", text):
        assert (CHECKOUT / name.rstrip(".")).exists(), f"no file {name}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_it_means_what_to_do_and_when_it_is_over(page: str) -> None:
    text = PAGES[page]
    assert text.startswith(f"# {page}\n") and "\n**Means:**" in text
    assert re.search(r"^1\. ", text, re.MULTILINE)
    assert re.search(r"^\*\*(Over when|Can wait until morning)", text, re.MULTILINE)


def test_the_order_of_causes_names_pages() -> None:
    assert set(ORDER) <= PAGES.keys()


def test_spans_that_break_at_the_end_of_a_line_are_one() -> None:
    assert spans("end: `tollgate restart\n   drift-0` safely") == ["tollgate restart drift-0"]
