"""What is wrong with a running stack, since when, and what to do: the likely cause first, for ``tollgate doctor --live``.

The problems are those of ``tollgate status`` (``infra/stack/health/causes.py``). Alerts that no problem explains follow: they are
what Prometheus has seen and one look at the stack cannot see, such as decisions that come late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from infra.oncall.alerts import AlertmanagerUnavailable, Firing, firing
from infra.oncall.query import PrometheusUnavailable, values
from infra.stack.health.causes import causes, rank
from infra.stack.health.problem import Problem
from infra.stack.health.status import processes, supervised
from streams.runtime.settings import Settings

#: of each process: when oncall last had an answer from it, within the last six hours
LAST_ANSWERED = "max by (process) (max_over_time(timestamp(tollgate_process_up == 1)[6h:5s]))"
#: severities that say that something is wrong now; a ticket waits for a person, and `info` for nobody
WRONG = ("page",)


class Finding(NamedTuple):
    """One line of the diagnosis. ``wrong`` False: a ticket, which does not make the stack unhealthy. ``runbook``: its address."""

    what: str
    since: datetime | None
    runbook: str
    wrong: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``since`` in RFC 3339."""
        return {**self._asdict(), "since": self.since.isoformat(timespec="seconds") if self.since else None}


class Diagnosis(NamedTuple):
    """``running`` False: no stack runs there, and nothing was checked. ``findings``: causes before consequences."""

    running: bool
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        return self.running and not any(finding.wrong for finding in self.findings)


def diagnose(settings: Settings) -> Diagnosis:
    """Look at a stack as the on-call engineer would. Takes a second or two; up to 15 s where much is silent."""
    listed = processes(settings)
    if not listed:
        return Diagnosis(False, [])
    found = causes(settings, listed, supervised(settings))
    try:
        alerts: list[Firing] = firing(settings.alertmanager)
    except AlertmanagerUnavailable as error:
        alerts = []
        found.append(Problem(f"{error}: no page reaches anybody: `tollgate restart alertmanager`", False))
    return Diagnosis(True, findings(found, alerts, _last_answered(settings), f"{settings.oncall}/runbooks"))


def findings(
    problems: Sequence[Problem], alerts: Iterable[Firing], answered: Mapping[str, datetime], runbooks: str
) -> list[Finding]:
    """The problems and the alerts that none of them explains, causes before consequences, tickets last.

    ``answered``: when each process answered last, by name; ``runbooks``: the address under which runbooks open.
    """
    alerts = list(alerts)
    began: dict[str, datetime] = {}
    for alert in alerts:
        since = datetime.fromisoformat(alert.since)
        began[alert.alert] = min(since, began.get(alert.alert, since))
    out = [
        (
            rank(problem.runbook),
            Finding(
                problem.text,
                problem.since or answered.get(problem.process) or began.get(problem.runbook),
                f"{runbooks}/{problem.runbook}",
                True,
            ),
        )
        for problem in problems
    ]
    explained = {problem.runbook for problem in problems}
    out += [
        (
            rank(one.alert),
            Finding(
                f"{one.alert}: {one.summary}",
                datetime.fromisoformat(one.since),
                one.runbook,
                one.severity in WRONG,
            ),
        )
        for one in alerts
        if not one.silenced and one.severity != "info" and one.alert not in explained
    ]
    # stable: of one rank problems come first, then the alerts in their order
    return [finding for _, finding in sorted(out, key=lambda each: (not each[1].wrong, each[0]))]


def _last_answered(settings: Settings) -> dict[str, datetime]:
    try:
        found = values(settings.prometheus, LAST_ANSWERED)
    except PrometheusUnavailable:
        # the problems stand without their times
        return {}
    return {labels["process"]: datetime.fromtimestamp(value, UTC) for labels, value in found}
