"""``tollgate backup`` and ``restore``: a stack's state, log, registry, people, keys, audit and settings."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

from infra.backup.making import make_backup, remove_unfinished
from infra.backup.restoring import check_backup, restore_backup
from services.cli.terminal.options import home_option, json_option, reply
from streams.runtime.settings import load_settings


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@home_option
@json_option
def backup(home: Path, as_json: bool, folder: Path) -> None:
    """Copy the stack into the new folder DIR while traffic flows. It holds keys: only you can read it.

    Parts that run elsewhere (settings.toml) are left to those who run them.
    """
    began = time.monotonic()
    try:
        listed = make_backup(load_settings(home), folder, _say)
    except KeyboardInterrupt:
        remove_unfinished(folder)
        raise
    size = sum(file.size for file in listed.files.values())
    took_s = time.monotonic() - began
    said = {"dir": str(folder), "files": len(listed.files), "bytes": size, "seconds": round(took_s, 1), "elsewhere": listed.elsewhere}  # fmt: skip
    lines = [
        f"{len(listed.files):,} files, {size / 1e6:,.0f} MB in {took_s:.0f} s: `tollgate restore {folder} --home NEW`"
    ]
    if listed.elsewhere:
        lines.append(f"not in it, because it runs elsewhere: {', '.join(listed.elsewhere)}")
    reply(said, as_json, lines)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--port-base", type=int, help="Ports of the restored stack.  [default: those it had]", metavar="N"
)
@click.option("--check", is_flag=True, help="Only check that the backup is whole and unchanged.")
@home_option
@json_option
def restore(home: Path, as_json: bool, folder: Path, port_base: int | None, check: bool) -> None:
    """Restore the backup DIR into --home, which must be new; then `tollgate up` starts it. Exit code 2: it is not whole.

    What came after the backup is not in it: producers may send it again, and what was decided before is recognised.
    """
    if check:
        listed = check_backup(folder, _say)
        text = f"{folder} is whole: {len(listed.files):,} files of {listed.made_at}"
        reply({"files": len(listed.files), "ok": True}, as_json, text)
        return
    settings = restore_backup(folder, home, port_base, _say)
    told = {"home": settings.home, "port_base": settings.port_base}
    reply(told, as_json, f"restored to {home}: `tollgate up --home {shlex.quote(str(home))}`")
