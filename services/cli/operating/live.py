"""``tollgate doctor --live``: what is wrong with a running stack, the likely cause first."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from infra.oncall.diagnosis import Diagnosis, Finding, diagnose
from services.cli.terminal.exits import Unreachable
from streams.runtime.settings import Settings


def live_doctor(settings: Settings, as_json: bool) -> int:
    """Print the diagnosis. Returns 0 if nothing is wrong, else 1.

    Raises:
        Unreachable: no stack is running.
    """
    found = diagnose(settings)
    if not found.running:
        raise Unreachable(f"no stack is running in {settings.home}: start one with `tollgate up`")
    if as_json:
        value = {"healthy": found.healthy, "findings": [each.as_dict() for each in found.findings]}
        click.echo(json.dumps(value))
    else:
        click.echo(text(found, datetime.now(UTC)))
    return 0 if found.healthy else 1


def text(found: Diagnosis, now: datetime) -> str:
    """The diagnosis as people read it: one line a finding."""
    if not found.findings:
        return "nothing is wrong: every process answers, every partition moves, no alert fires"
    return "\n".join(line(finding, now) for finding in found.findings)


def line(finding: Finding, now: datetime) -> str:
    """What, since when, where to read on."""
    mark = "WRONG " if finding.wrong else "ticket"
    since = ""
    if finding.since is not None:
        since = (
            f"  since {finding.since:%Y-%m-%d %H:%M:%S}Z ({_length((now - finding.since).total_seconds())})"
        )
    return f"{mark}  {finding.what}{since}  runbook: {finding.runbook}"


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, round(seconds))} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
