"""The drill: break one part of a running stack, wait for its page, ask the doctor, do what the runbook says, and count what was lost.

``make drill``; ``python -m tests.faults.drill --help`` lists the options.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from infra import stack
from infra.oncall.alerts import AlertmanagerUnavailable, firing
from infra.stack.supervisor import Supervisor
from streams.runtime.settings import Settings
from tests.faults import breakages
from tests.support.running import pid_of, run_cli, stand_still, start_cli, start_whole_stack
from tests.support.waiting import until

#: of the traffic beside each fault
RATE, SECONDS = 200, 120
RECOVERED_WITHIN_S = 120.0
#: breaks the stack; returns what undoes it, where no command of the runbook does
Break = Callable[[Settings], Callable[[], None] | None]


def frozen(name: str) -> Break:
    """The process stands still: alive for its supervisor, silent for everybody else."""

    def freeze(settings: Settings) -> None:
        stand_still(until(lambda: pid_of(settings, name), 60, f"{name} to have a pid"))

    return freeze


def dead(name: str) -> Break:
    """The process is killed, and does not come back by itself."""

    def kill(settings: Settings) -> None:
        pid = until(lambda: pid_of(settings, name), 60, f"{name} to have a pid")
        Supervisor(settings).stop(name)
        os.kill(pid, signal.SIGKILL)

    return kill


@dataclass(frozen=True)
class Drill:
    """A way to break a stack. ``process``: whom the alert names, if anybody. ``mend``: the command of the alert's runbook; () where the
    stack mends itself, or what was broken is undone.
    """

    fault: str
    break_it: Break
    alert: str
    within_s: float
    mend: tuple[str, ...] = ()
    process: str = ""


#: ended by their supervisor when they stand still; MLflow is not ours
OURS = ("labels-0", "archive-0", "drift-0", "trainer-0", "rollout-0")
DRILLS = (
    Drill("Kafka dead", dead("kafka"), "KafkaDown", 60, ("restart", "kafka")),
    Drill("Kafka frozen", frozen("kafka"), "KafkaDown", 60, ("restart", "kafka")),
    Drill("Redis dead", dead("redis"), "RedisDown", 60, ("restart", "redis")),
    Drill("Redis frozen", frozen("redis"), "RedisDown", 60, ("restart", "redis")),
    Drill("processor dead", dead("processor-0"), "ProcessorDown", 60, ("restart", "processor-0")),
    Drill("processor frozen", frozen("processor-0"), "ProcessorDown", 60),
    Drill("scoring dead", dead("scoring"), "StreamScoringDown", 60, ("restart", "scoring")),
    Drill("stream scorer frozen", frozen("scoring-stream-0"), "StreamScoringDown", 60),
    Drill("HTTP edge dead", dead("scoring"), "HttpEdgeDown", 60, ("restart", "scoring")),
    Drill("HTTP edge frozen", frozen("scoring-http-0"), "HttpEdgeDown", 60),
    *(
        Drill(f"{name} dead", dead(name), "ProcessDown", 90, ("restart", name), name)
        for name in (*OURS, "mlflow")
    ),
    Drill("mlflow frozen", frozen("mlflow"), "ProcessDown", 90, ("restart", "mlflow"), "mlflow"),
    *(Drill(f"{name} frozen", frozen(name), "ProcessStoodStill", 60, (), name) for name in OURS),
    Drill("dead letters surging", breakages.bad_records, "DeadLettersRising", 60),
    Drill("forged header", breakages.forged_header, "ForgeryRefused", 60),
    Drill("no time to decide", breakages.no_time, "DecisionsNotScored", 60),
    Drill("late decisions", breakages.stutter, "DecisionLatencyHigh", 120),
    Drill("Redis full", breakages.full_store, "StoreFull", 60),
    Drill("Redis nearly full", breakages.nearly_full_store, "RedisMemoryHigh", 120),
    Drill("a decision of no transaction", breakages.unknown_decision, "ReconciliationBroken", 120, ("reconcile", "--repair", "--why", "drill")),
)  # fmt: skip


class Result(NamedTuple):
    """``paged_s``: seconds from the fault to the alert; None: none came. ``others``: further pages that fired meanwhile and were sent."""

    drill: Drill
    paged_s: float | None
    others: list[str]
    diagnosis: str
    recovered_s: float
    missing: int
    doubled: int

    @property
    def passed(self) -> bool:
        return (
            self.paged_s is not None
            and self.paged_s <= self.drill.within_s
            and not self.missing
            and not self.doubled
        )


def run(settings: Settings, drill: Drill, *, seconds: int = SECONDS) -> Result:
    """Break, page, diagnose, mend; the traffic beside it is counted to the end."""
    # an alert of something that happened fires for as long as its window is: ten minutes at most
    until(lambda: (drill.alert, drill.process) not in sounding(settings), 660, "an earlier alert of this kind to be over", look_s=1)  # fmt: skip
    before = {name for name, _ in sounding(settings)}
    traffic = start_cli(
        settings, "simulate", "--rate", str(RATE), "--seconds", str(seconds), "--wait", "240", "--json",
    )  # fmt: skip
    began = time.monotonic()
    undo = drill.break_it(settings)
    paged_s = _wait_for_page(settings, drill, began)
    others = sorted({name for name, _ in sounding(settings, "page")} - {drill.alert, *before})
    findings = json.loads(run_cli(settings, "doctor", "--live", "--json").stdout)["findings"]
    if undo is not None:
        undo()
    if drill.mend:
        mended = run_cli(settings, *drill.mend)
        assert mended.returncode == 0, mended.stderr
    began = time.monotonic()
    until(lambda: _well(settings, drill), RECOVERED_WITHIN_S, f"{drill.fault} to be over", look_s=0.5)
    recovered_s = time.monotonic() - began
    out, err = traffic.communicate(timeout=seconds + 300)
    assert out, err
    summary: dict[str, Any] = json.loads(out)
    return Result(
        drill, paged_s, others, findings[0]["what"] if findings else "(none)", recovered_s, summary["missing"], summary["duplicated"],
    )  # fmt: skip


def _wait_for_page(settings: Settings, drill: Drill, began: float) -> float | None:
    while time.monotonic() < began + 2 * drill.within_s:
        if (drill.alert, drill.process) in sounding(settings):
            return time.monotonic() - began
        time.sleep(0.5)
    return None


#: alerts of what happened, which go on for as long as their window is, and of what is measured over one
EVENTS = (
    "ProcessStoodStill", "DeadLettersRising", "ForgeryRefused", "DecisionsNotScored", "DecisionLatencyHigh", "ReconciliationBroken",
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
    """The results as a Markdown table."""
    lines = [
        "| fault | alert | after, s | at most, s | other pages | first line of `tollgate doctor --live` | runbook step | well again after, s | lost | doubled |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.drill.fault} | {r.drill.alert} | {'none' if r.paged_s is None else f'{r.paged_s:.0f}'} | {r.drill.within_s:.0f} "
        f"| {', '.join(r.others) or '-'} | {r.diagnosis[:120]} | {_step(r.drill)} | {r.recovered_s:.0f} "
        f"| {r.missing} | {r.doubled} |"
        for r in results
    ]
    return "\n".join(lines)


def _step(drill: Drill) -> str:
    return f"`tollgate {' '.join(drill.mend)}`" if drill.mend else "-"


def main() -> int:
    """Exit code 0: every page came in time and nothing was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="FAULT", choices=[drill.fault for drill in DRILLS])
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of traffic beside each fault")
    args = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="tg-drill-"))
    settings = stack.settings_for(home, stack.free_port_base())
    results: list[Result] = []
    failed = False
    try:
        settings = start_whole_stack(settings)
        for drill in DRILLS:
            if args.only is None or drill.fault in args.only:
                print(f"{drill.fault} ...", file=sys.stderr, flush=True)
                try:
                    results.append(run(settings, drill, seconds=args.seconds))
                except (AssertionError, TimeoutError) as error:
                    # the others are tried all the same
                    print(f"{drill.fault}: {error}", file=sys.stderr, flush=True)
                    failed = True
                    continue
                print(table(results[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    finally:
        stack.stop(settings, purge=True)
    print(table(results))
    return 0 if results and not failed and all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
