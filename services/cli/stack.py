"""``tollgate up``, ``down``, ``status`` and ``doctor``."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from infra import doctor as machine
from infra import stack
from services.cli.terminal.options import Number, home_option, json_option, reply
from streams.access.directory import may_add_people, read_directory
from streams.access.identity import user_name
from streams.access.logins import make_link, read_logins
from streams.runtime.settings import DEFAULT_PORT_BASE, Settings, SettingsError, load_settings

DEFAULT_WAIT_S = 180.0


@click.command()
@home_option
@click.option(
    "--port-base",
    type=int,
    metavar="N",
    help=f"First port (default: that of the last start, else {DEFAULT_PORT_BASE}).",
)
@click.option(
    "--wait",
    "wait_s",
    type=Number(min=1),
    default=DEFAULT_WAIT_S,
    show_default=True,
    metavar="S",
    help="Fail if the stack is not ready after S seconds.",
)
@click.option(
    "--embedded",
    is_flag=True,
    help="Use a mock broker in place of Kafka: nothing is durable (also EMBEDDED=1).",
)
@click.option(
    "--secure/--plain",
    default=None,
    help="TLS, passwords and rights for each process on the stack's own Kafka and Redis, API keys on HTTP (default: as at the last start, else plain).",
)
@click.option(
    "--no-model",
    is_flag=True,
    help="Do not train a first model: decisions are not_scored until you approve one.",
)
def up(
    home: Path, port_base: int | None, wait_s: float, embedded: bool, secure: bool | None, no_model: bool
) -> None:
    """Start the stack and wait until it is ready. If it runs already, start the missing processes.

    A stack without a model trains a first one on simulated history, approves it in your name, and serves it.
    """
    began = time.monotonic()
    embedded = embedded or os.environ.get("EMBEDDED") == "1"

    def progress(text: str) -> None:
        click.echo(f"[{time.monotonic() - began:5.1f} s] {text}", err=True)

    interrupted = _interrupts()
    with stack.turn_to_start(home, wait_s, progress):
        settings = _settings(home, port_base, embedded, secure)
        was_running = stack.is_running(settings)
        if was_running:
            progress(f"a stack is already running in {home}")
        if no_model or any(settings.bundles_dir.glob("*/*")):
            settings = stack.start(settings, wait_s=wait_s, progress=progress)
        else:
            settings = _with_first_model(settings, wait_s, progress)
        if interrupted.is_set():
            # a library's callback swallowed the exception
            if not was_running:
                stack.stop(settings, progress=progress)
            raise KeyboardInterrupt
    progress("ready")
    click.echo(addresses(settings))
    invitation = first_link(settings, datetime.now(UTC))
    if invitation:
        click.echo(invitation)


def first_link(settings: Settings, now: datetime) -> str | None:
    """While nobody has a password for the console: a one-time link for who may add people. None where one has, or nobody may."""
    folder = settings.access_dir
    if any(login.password for login in read_logins(folder).values()):
        return None
    directory = read_directory(folder)
    people = [member.name for member in directory.people() if may_add_people(directory, member.name)]
    if not people:
        return None
    name = user_name() if user_name() in people else people[0]
    token, made = make_link(folder, name, by=name, now=now)
    return f"Sign in as {name} (this link opens once, until {made.expires_at:%Y-%m-%d %H:%M} UTC): {settings.console}/welcome#{token}"


def _interrupts() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set. Both raise KeyboardInterrupt, so that both clean up."""
    interrupted = threading.Event()

    def interrupt(_number: int, _frame: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    return interrupted


def _with_first_model(settings: Settings, wait_s: float, progress: Callable[[str], None]) -> Settings:
    # imported here: `tollgate status` must not load the simulator's and the trainer's libraries
    from services.cli.models.first_model import simulated_history, start_with_model

    was_running = stack.is_running(settings)
    try:
        started, version = start_with_model(
            settings, lambda: simulated_history(datetime.now(UTC), progress), wait_s=wait_s, progress=progress
        )
    except KeyboardInterrupt:
        if not was_running:
            stack.stop(settings, progress=progress)
        raise
    found = stack.served_model(started)
    progress(f"model {version} is live" + (unreviewed(found) if found else ""))
    return started


def unreviewed(model: dict[str, Any]) -> str:
    """What to add where a model is named that nobody but who proposed it has approved."""
    if model["reviewed"]:
        return ""
    return f" (unreviewed: nobody has looked at it; `tollgate models show`, then `tollgate models approve {model['version']}`)"


#: fields of settings.json that a person edits, and the partition count of existing topics: a start keeps them
KEPT = (
    "partitions", "processors", "stream_replicas", "gpus", "deadline_ms", "access", "profile_cache_mb", "redis_memory_mb", "tenants",
    "unknown_tenant", "edge_keys",
)  # fmt: skip


def _settings(home: Path, port_base: int | None, embedded: bool, secure: bool | None = None) -> Settings:
    """The settings for this start: the command's options over those stored in the folder.

    Raises:
        StackUsageError: the stack already runs, in the other mode or on other ports.
    """
    known = stack.existing(home)
    if known is not None and stack.is_running(known):
        if port_base not in (None, known.port_base) or (embedded and not known.embedded):
            raise stack.StackUsageError(
                f"a stack already runs in {home} on ports from {known.port_base}: `tollgate down` first, or use another --home"
            )
        if secure not in (None, known.secure):
            form = "secured" if known.secure else "plain"
            raise stack.StackUsageError(f"the stack in {home} runs, and is {form}: `tollgate down` first")
        return known
    if known is not None:
        stack.refuse_edited(known)
    if port_base is None:
        port_base = known.port_base if known else DEFAULT_PORT_BASE
    if secure is None:
        secure = known is not None and known.secure
    settings = stack.with_parts(stack.settings_for(home, port_base, embedded=embedded, secure=secure))
    if known is None:
        return settings
    return msgspec.structs.replace(settings, **{name: getattr(known, name) for name in KEPT})


def addresses(settings: Settings) -> str:
    """The stack's addresses, one a line."""
    rows = (
        ("Console", settings.console),
        ("Kafka", settings.kafka + _form(settings)),
        ("HTTP edge", f"{settings.http}/docs"),
        ("Redis", settings.redis_shown + _password(settings)),
        ("Prometheus", settings.prometheus),
        ("Alertmanager", settings.alertmanager),
        ("MLflow", settings.mlflow),
        ("On-call", f"{settings.oncall}/pages"),
    )
    return "\n".join(f"{name:<13} {address}" for name, address in rows)


def _form(settings: Settings) -> str:
    """What to know of Kafka before one connects to it."""
    if settings.embedded:
        return "  (mock broker: nothing is durable)"
    if settings.secure and settings.elsewhere.kafka is None:
        return f"  (SASL_SSL, SCRAM-SHA-512: programs come as producer, {settings.secure_files.password('producer')})"
    return ""


def _password(settings: Settings) -> str:
    """Where the password of the stack's own Redis is."""
    if settings.elsewhere.redis:
        return ""
    if settings.secure:
        return f"  (TLS; certificate and passwords: {settings.secure_files.folder})"
    return f"  (password: {settings.keys_dir / 'redis.password'})"


@click.command()
@home_option
@click.option("--purge", is_flag=True, help="Also delete the stack's folder with all data.")
def down(home: Path, purge: bool) -> None:
    """Stop the processes that `up` started in this folder, and no others."""
    settings = stack.existing(home)
    if settings is None:
        click.echo(f"nothing to stop: no stack in {home}", err=True)
        return
    began = time.monotonic()
    stack.stop(settings, purge=purge, progress=lambda text: click.echo(text, err=True))
    click.echo(
        f"stopped in {time.monotonic() - began:.1f} s" + (f", {home} removed" if purge else ""), err=True
    )


@click.command()
@home_option
@json_option
def status(home: Path, as_json: bool) -> int:
    """Show state, addresses and processes. Exit code 0: ready or degraded; 1: starting; 3: down."""
    try:
        settings = load_settings(home)
    except SettingsError as error:
        # a program that asks gets its answer in one form, whatever was started
        if as_json:
            click.echo(json.dumps(stack.no_stack(str(error))))
        raise
    report = stack.report(settings)
    reply(report, as_json, _table(settings, report))
    return {"ready": 0, "degraded": 0, "starting": 1}.get(report["state"], 3)


def _table(settings: Settings, report: dict[str, Any]) -> str:
    # what is wrong comes first
    lines = [f"{report['state']}  ({settings.home})", *(f"problem: {text}" for text in report["problems"])]
    lines += [
        f"{one['severity']}: {one['alert']}: {one['summary']} ({one['runbook']})"
        for one in report["alerts"] or ()
        if not one["silenced"]
    ]
    if report["model"]:
        lines += ["", f"model {report['model']['version']} is live" + unreviewed(report["model"])]
    lines += ["", addresses(settings)]
    if report["processes"]:
        lines += ["", f"{'process':<18} {'state':<11} {'pid':>8} {'restarts':>8} {'MB':>6} {'CPU s':>8}"]
    lines += [
        f"{p['name']:<18} {p['state']:<11} {p['pid'] or '-':>8} {p['restarts']:>8} {p['rss_mb']:>6} {p['cpu_s']:>8}"
        for p in report["processes"]
    ]
    return "\n".join(lines)


_DOCTOR_ORDER = ("wrong", "warning", "ok")


@click.command()
@home_option
@json_option
@click.option("--port-base", type=int, metavar="N", help="First port to check (default: the stack's).")
@click.option(
    "--live",
    is_flag=True,
    help="Instead: what is wrong with the stack that runs in --home, the likely cause first.",
)
def doctor(home: Path, as_json: bool, port_base: int | None, live: bool) -> int:
    """Check this machine and say how to fix each problem. Exit code 1: something required is missing, or, with --live, something is wrong."""
    if live:
        # imported here: a check of the machine must not need what it checks
        from services.cli.operating.live import live_doctor

        return live_doctor(load_settings(home), as_json)
    known = stack.existing(home)
    running = known is not None and stack.is_running(known)
    base = port_base or (known.port_base if known else DEFAULT_PORT_BASE)
    checks = machine.examine(home, base, check_ports=not running)
    if as_json:
        click.echo(json.dumps({"healthy": machine.healthy(checks), "checks": [c.as_dict() for c in checks]}))
    else:
        # what is wrong comes first, in the order in which to fix it
        for check in sorted(checks, key=lambda check: _DOCTOR_ORDER.index(check.verdict)):
            click.echo(check.line())
    return 0 if machine.healthy(checks) else 1
