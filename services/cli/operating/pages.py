"""``tollgate pages``, ``silence`` and ``restart``: what the on-call engineer does first."""

from __future__ import annotations

import getpass
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from infra import stack
from infra.oncall.alerts import AlertmanagerUnavailable, Firing, firing
from infra.oncall.alerts import silence as silence_alert
from infra.oncall.pages import Pages
from infra.stack.servers.monitoring import alert_rules
from services.cli.terminal.exits import Unreachable
from services.cli.terminal.options import WholeNumber, home_option, json_option, reply
from services.cli.terminal.times import Length
from services.cli.terminal.words import visible
from streams.runtime.settings import load_settings

#: of a silence, and of what a dashboard shows
LONGEST = timedelta(days=7)


@click.command()
@home_option
@json_option
@click.option("--history", type=WholeNumber(min=0), default=0, metavar="N", help="Also the N newest that were sent, firing or resolved.")  # fmt: skip
def pages(home: Path, as_json: bool, history: int) -> int:
    """Show the alerts that fire now, pages first. Exit code 1: a page fires."""
    settings = load_settings(home)
    try:
        now = firing(settings.alertmanager)
    except AlertmanagerUnavailable as error:
        raise Unreachable(str(error)) from error
    sent = Pages(settings.root / "oncall" / "pages.jsonl").read(history) if history else []
    lines = [line(one) for one in now] or ["no alert fires"]
    for page in sent:
        said = f"{page['received_at'][:19]}  {page['status']:<8}  {page['severity']:<6}  {page['alert']}: {page['summary']}"
        lines.append(visible(said))
    reply({"firing": [one._asdict() for one in now], "history": sent}, as_json, lines)
    return 1 if any(one.severity == "page" and not one.silenced for one in now) else 0


def line(one: Firing) -> str:
    """An alert as people read it."""
    quiet = " (silenced or a consequence)" if one.silenced else ""
    first = f"{one.severity:<6}  since {one.since[:19]}Z  {one.alert}{quiet}: {one.summary}"
    return f"{visible(first)}\n        runbook: {visible(one.runbook)}"


@click.command()
@home_option
@click.argument("alert")
@click.option(
    "--for",
    "length",
    type=Length(LONGEST),
    required=True,
    metavar="30m",
    help="How long: 30m, 2h, 1d; at most 7d.",
)
@click.option("--why", required=True, help="Shown to whoever looks for the missing page.")
def silence(home: Path, alert: str, length: timedelta, why: str) -> None:
    """Send no pages of one ALERT for a while."""
    known = sorted({rule["alert"] for rule in alert_rules()})
    if alert not in known:
        raise click.UsageError(f"no alert {alert!r}; there are {', '.join(known)}")
    settings, now = load_settings(home), datetime.now(UTC)
    try:
        made = silence_alert(settings.alertmanager, alert, now, length, getpass.getuser(), why)
    except AlertmanagerUnavailable as error:
        raise Unreachable(str(error)) from error
    click.echo(f"{alert} is silent until {(now + length).strftime('%Y-%m-%d %H:%M')} UTC (silence {made})")


@click.command()
@home_option
@click.argument("name", required=False)
@click.option(
    "--rolling", is_flag=True, help="Every process in turn, the next once the one before is back at its work."
)
@click.option(
    "--servers", is_flag=True, help="With --rolling: also Kafka, Redis and Ray; nothing is decided meanwhile."
)
def restart(home: Path, name: str | None, rolling: bool, servers: bool) -> None:
    """Restart one process, by its NAME in `tollgate status`; a frozen one is killed. Nothing is lost or decided twice.

    With --rolling all of them, and of two processors or replicas one goes on meanwhile.
    """
    if (name is None) is not rolling or (servers and not rolling):
        raise click.UsageError("name a process, or say --rolling; --servers belongs to --rolling")
    settings = load_settings(home)
    began = time.monotonic()
    if name is not None:
        stack.restart(settings, name, lambda text: click.echo(text, err=True))
        click.echo(f"{name} runs again")
        return
    done = stack.restart_all(settings, lambda text: click.echo(text, err=True), servers=servers)
    click.echo(f"{len(done)} processes run again, after {time.monotonic() - began:.0f} s: {', '.join(done)}")
