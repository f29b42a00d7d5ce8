"""``tollgate audit``: every answer about what is served and every change of who may do what, in one hash chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from services.cli.terminal.options import home_option, json_option, reply
from services.cli.terminal.words import visible
from services.rollout.ledger import read_head
from streams.access.audit_chain import ChainReport, Head, NoEntry, check_chain, opened
from streams.access.directory import read_directory
from streams.contracts.audit import AuditEntry
from streams.log.rollouts.feed import RolloutReader, read_all
from streams.log.topics import AUDIT, ROLLOUTS
from streams.runtime.settings import Settings, load_settings

READ_S = 60.0


@click.group()
def audit() -> None:
    """Read and verify the audit: who changed what is served, or who may do what."""


@audit.command()
@home_option
@json_option
def verify(home: Path, as_json: bool) -> int:
    """Follow the chain from its first entry. Exit code 1: an entry was changed, is missing, or stands in another place."""
    report = checked_chain(load_settings(home))
    lines = [
        f"{report.entries} entries: "
        + ("every one is there, in order and as it was written" if report.ok else "NOT INTACT")
    ]
    lines += [f"entry {fault.entry}: {fault.why}" for fault in report.faults]
    reply(msgspec.to_builtins(report), as_json, lines)
    return 0 if report.ok else 1


@audit.command("list")
@click.option(
    "-n", "--last", type=click.IntRange(min=1), default=20, show_default=True, help="Newest entries to show."
)
@home_option
@json_option
def list_entries(last: int, home: Path, as_json: bool) -> None:
    """Show the newest entries that verify, oldest first."""
    shown, left_out = newest_entries(load_settings(home), last)
    for why in left_out:
        click.echo(f"an entry is left out: {why} (`tollgate audit verify`)", err=True)
    text = "\n".join(visible(_line(entry)) for entry in shown) or "the audit is empty"
    reply(msgspec.to_builtins(shown), as_json, text)


def checked_chain(settings: Settings) -> ChainReport:
    """Follow the whole chain of the audit."""
    return check_chain(_entries(settings), read_directory(settings.access_dir), _heads(settings))


def newest_entries(settings: Settings, count: int) -> tuple[list[AuditEntry], list[str]]:
    """The newest entries that verify, oldest first; and why others were left out."""
    directory = read_directory(settings.access_dir)
    found: list[AuditEntry] = []
    left_out = []
    for raw in _entries(settings):
        try:
            found.append(opened(raw, directory))
        except NoEntry as error:
            left_out.append(str(error))
    return found[-count:], left_out


def _entries(settings: Settings) -> list[bytes]:
    return [message.value() or b"" for message in read_all(settings, AUDIT.name, timeout_s=READ_S)]


def _heads(settings: Settings) -> list[Head]:
    """Ends of the chain that are noted elsewhere: by the rollout process on disk, and in the signed record of each model."""
    reader = RolloutReader(settings)
    for message in read_all(settings, ROLLOUTS.name, timeout_s=READ_S):
        reader.take(message)
    signed = [Head(record.audit_entries, record.audit_head) for record in reader.newest.values()]
    return [read_head(settings.rollout_dir), *signed]


def _line(entry: AuditEntry) -> str:
    what: list[Any] = [
        entry.action,
        entry.model,
        entry.version or "",
        entry.detail.get("name", ""),
        entry.result,
    ]
    who = entry.by if entry.signed_by in ("", entry.by) else f"{entry.by} (signed by {entry.signed_by})"
    reason = entry.detail.get("reason") or entry.why
    words = " ".join(str(word) for word in what if word)
    return f"{entry.entry:>5}  {entry.at:%Y-%m-%d %H:%M:%S}  {words}, by {who}" + (
        f": {reason}" if reason else ""
    )
