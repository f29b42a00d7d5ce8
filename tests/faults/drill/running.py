"""One drill: break one part of a running stack, wait for its page, ask the doctor, do what the runbook says, and count what was lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from infra import stack
from infra.oncall.alerts import AlertmanagerUnavailable, firing
from streams.log.topics import TRANSACTIONS
from streams.runtime.settings import Settings
from tests.faults.drill.drills import Drill
from tests.faults.drill.runbook import Ran, follow, over
from tests.support.running import ends_of, run_cli, start_cli
from tests.support.waiting import until

#: of the traffic beside each fault
RATE, SECONDS = 200, 120
RECOVERED_WITHIN_S = 120.0
#: traffic of which a page comes goes on for so long after the last moment at which that may be
AFTER_S = 15


class Result(NamedTuple):
    """``paged_s``: seconds from the fault to the alert; None: none came. ``others``: further pages that fired meanwhile and were sent.
    ``diagnosis``: the doctor's first line, ``right`` whether it names the fault. ``steps``: the runbook's commands. ``busy``: the machine's
    load average over a minute when the page came, which on few cores says what else ran.
    """

    drill: Drill
    paged_s: float | None
    others: list[str]
    diagnosis: str
    right: bool
    steps: list[Ran]
    recovered_s: float
    missing: int
    doubled: int
    busy: float

    @property
    def passed(self) -> bool:
        return (
            self.paged_s is not None
            and self.paged_s <= self.drill.within_s
            and self.right
            and not self.missing
            and not self.doubled
            and not any(step.wrong for step in self.steps)
        )


def run(settings: Settings, drill: Drill, *, seconds: int = SECONDS) -> Result:
    """Break, page, diagnose, mend by the runbook; the traffic beside it is counted to the end."""
    # an alert of something that happened fires for as long as its window is: ten minutes at most
    until(lambda: (drill.alert, drill.process) not in sounding(settings), 660, "an earlier alert of this kind to be over", look_s=1)  # fmt: skip
    before = {name for name, _ in sounding(settings)}
    about = {process for name, process in sounding(settings) if name == drill.alert}
    if drill.of_traffic:
        seconds = max(seconds, round(drill.within_s) + AFTER_S)
    arrived = _arrived(settings)
    traffic = start_cli(
        settings, "simulate", "--rate", str(RATE), "--seconds", str(seconds), "--wait", "240", "--json",
    )  # fmt: skip
    try:
        until(lambda: _arrived(settings) > arrived + RATE, 120, "the traffic to flow", look_s=0.5)
        undo = drill.break_it(settings)
        began = time.monotonic()
        paged_s = _wait_for_page(settings, drill, began)
        busy = os.getloadavg()[0]
        others = sorted({name for name, _ in sounding(settings, "page")} - {drill.alert, *before})
        first = new_first(
            json.loads(run_cli(settings, "doctor", "--live", "--json").stdout)["findings"],
            before - {drill.alert, drill.cause},
            about,
        )
        steps = follow(settings, drill)
        if undo is not None:
            undo()
        began = time.monotonic()
        until(lambda: _well(settings, drill), RECOVERED_WITHIN_S, f"{drill.fault} to be over", look_s=0.5)
        recovered_s = time.monotonic() - began
        out, err = traffic.communicate(timeout=seconds + 300)
    finally:
        traffic.kill()
        traffic.wait(30)
    assert out, err
    summary: dict[str, Any] = json.loads(out)
    return Result(
        drill, paged_s, others, first["what"] if first else "(none)", first is not None and names(drill, first),
        [*steps, *over(settings, drill)], recovered_s, summary["missing"], summary["duplicated"], busy,
    )  # fmt: skip


def _arrived(settings: Settings) -> int:
    """Transactions in the log."""
    return sum(ends_of(settings, TRANSACTIONS.name, settings.partitions).values())


def new_first(
    findings: list[dict[str, Any]], before: set[str], about: Collection[str] = ()
) -> dict[str, Any] | None:
    """The doctor's first line, without alerts that fired before the fault: what an earlier one left behind, for as long as its window is.

    ``about``: processes about which the fault's own alert fired already.
    """
    return next(
        (
            each
            for each in findings
            if each["runbook"].rsplit("/", 1)[1] not in before
            and not any(process and process in each["what"] for process in about)
        ),
        None,
    )


def names(drill: Drill, finding: dict[str, Any]) -> bool:
    """Whether a line of the doctor names the fault: its process, or, where the page is about no single one, the page of its cause."""
    by_name: bool = bool(drill.victim) and drill.victim in finding["what"].lower()
    by_page: bool = finding["runbook"].endswith(f"/{drill.cause or drill.alert}")
    return by_name or (by_page and not drill.names_it)


def _wait_for_page(settings: Settings, drill: Drill, began: float) -> float | None:
    while time.monotonic() < began + 2 * drill.within_s:
        if (drill.alert, drill.process) in sounding(settings):
            return time.monotonic() - began
        time.sleep(0.5)
    return None


#: alerts of what happened, which go on for as long as their window is, and of what is measured over one
EVENTS = (
    "ProcessStoodStill", "DeadLettersRising", "ForgeryRefused", "DecisionsNotScored", "DecisionLatencyHigh", "ReconciliationBroken",
    "ConsumerLagGrowing", "BundleRefused",
)  # fmt: skip


def _well(settings: Settings, drill: Drill) -> bool:
    if drill.alert not in EVENTS and (drill.alert, drill.process) in sounding(settings):
        return False
    return stack.report(settings)["state"] in ("ready", "degraded")


def sounding(settings: Settings, severity: str | None = None) -> list[tuple[str, str]]:
    """The alerts that fire and are neither silenced nor the consequence of another one, each with the process that it names, or "".

    An alert about a part that has a name of its own (KafkaDown) counts as one without.
    """
    try:
        found = [one for one in firing(settings.alertmanager) if not one.silenced and severity in (None, one.severity)]  # fmt: skip
    except AlertmanagerUnavailable:
        return []
    named = ("ProcessDown", "ProcessStoodStill")
    return [(one.alert, one.process if one.alert in named else "") for one in found if one.severity != "info"]


def table(results: list[Result]) -> str:
    """The results as a Markdown table, and below it what was not as a runbook has it."""
    lines = [
        "| fault | alert | after, s | at most, s | other pages | first line of `tollgate doctor --live` | commands of the runbook, as promised | mended by | well again after, s | lost | doubled | load |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        after = "none" if r.paged_s is None else f"{r.paged_s:.0f}"
        good = sum(not step.wrong for step in r.steps)
        lines.append(
            f"| {r.drill.fault} | {r.drill.alert} | {after} | {r.drill.within_s:.0f} | {', '.join(r.others) or '-'} "
            f"| {'' if r.right else '(another) '}{_cell(r.diagnosis)} | {good} of {len(r.steps)} | {f'`{r.drill.mend}`' if r.drill.mend else '-'} "
            f"| {r.recovered_s:.0f} | {r.missing} | {r.doubled} | {r.busy:.0f} |"
        )
    wrong = [
        f"- {r.drill.fault}: {step.command}: {step.wrong}" for r in results for step in r.steps if step.wrong
    ]
    return "\n".join(lines + (["", *wrong] if wrong else []))


def _cell(text: str) -> str:
    """A text that fits into a cell of a table."""
    return " ".join(text.replace("|", "/").split())[:120]
