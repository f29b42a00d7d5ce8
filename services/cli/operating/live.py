"""``tollgate doctor --live``: what is wrong with a running stack, the likely cause first."""

from __future__ import annotations

from datetime import UTC, datetime

from infra.oncall.diagnosis import Diagnosis, Finding, diagnose
from services.cli.terminal.exits import Unreachable
from services.cli.terminal.options import reply
from services.cli.terminal.words import duration
from streams.runtime.settings import Settings


def live_doctor(settings: Settings, as_json: bool) -> int:
    """Print the diagnosis. Returns 0 if nothing is wrong, else 1.

    Raises:
        Unreachable: no stack is running.
    """
    found = diagnose(settings)
    if not found.running:
        raise Unreachable(f"no stack is running in {settings.home}: start one with `tollgate up`")
    value = {"healthy": found.healthy, "findings": [each.as_dict() for each in found.findings]}
    reply(value, as_json, text(found, datetime.now(UTC)))
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
        length = duration(max(0, round((now - finding.since).total_seconds())))
        since = f"  since {finding.since:%Y-%m-%d %H:%M:%S}Z ({length})"
    return f"{mark}  {finding.what}{since}  runbook: {finding.runbook}"
