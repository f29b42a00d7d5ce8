"""The drill: break one part of a running stack for good, wait for its page, do what the runbook says, and count what was lost.

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
from tests.support.running import pid_of, run_cli, stand_still, start_cli, start_whole_stack
from tests.support.waiting import until

#: of the traffic beside each fault
RATE, SECONDS = 200, 120
RECOVERED_WITHIN_S = 120.0


def frozen(name: str) -> Callable[[Settings], None]:
    """The process stands still: alive for its supervisor, silent for everybody else."""

    def freeze(settings: Settings) -> None:
        stand_still(until(lambda: pid_of(settings, name), 60, f"{name} to have a pid"))

    return freeze


def dead(name: str) -> Callable[[Settings], None]:
    """The process is killed, and does not come back by itself."""

    def kill(settings: Settings) -> None:
        pid = until(lambda: pid_of(settings, name), 60, f"{name} to have a pid")
        Supervisor(settings).stop(name)
        os.kill(pid, signal.SIGKILL)

    return kill


@dataclass(frozen=True)
class Drill:
    """A way to break a stack. ``mend``: the command of the alert's runbook."""

    fault: str
    break_it: Callable[[Settings], None]
    alert: str
    within_s: float
    mend: tuple[str, ...]


DRILLS = (
    Drill("Kafka dead", dead("kafka"), "KafkaDown", 60, ("restart", "kafka")),
    Drill("Kafka frozen", frozen("kafka"), "KafkaDown", 60, ("restart", "kafka")),
    Drill("Redis dead", dead("redis"), "RedisDown", 60, ("restart", "redis")),
    Drill("Redis frozen", frozen("redis"), "RedisDown", 60, ("restart", "redis")),
    Drill("processor dead", dead("processor-0"), "ProcessorDown", 60, ("restart", "processor-0")),
    Drill("processor frozen", frozen("processor-0"), "ProcessorDown", 60, ("restart", "processor-0")),
    Drill("stream scorer frozen", frozen("scoring-stream-0"), "StreamScoringDown", 60, ("restart", "scoring-stream-0")),
    Drill("HTTP edge frozen", frozen("scoring-http-0"), "HttpEdgeDown", 60, ("restart", "scoring-http-0")),
    *(
        Drill(f"{name} frozen", frozen(name), "ProcessDown", 90, ("restart", name))
        for name in ("labels-0", "archive-0", "drift-0", "trainer-0", "rollout-0", "mlflow")
    ),
)  # fmt: skip


class Result(NamedTuple):
    """``paged_s``: seconds from the fault to the page; None: none came. ``others``: further pages that fired meanwhile and were sent."""

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
    until(lambda: drill.alert not in sounding(settings), 120, "an earlier alert of this kind to be over")
    before = set(sounding(settings))
    traffic = start_cli(
        settings, "simulate", "--rate", str(RATE), "--seconds", str(seconds), "--wait", "240", "--json",
    )  # fmt: skip
    began = time.monotonic()
    drill.break_it(settings)
    paged_s = None
    while time.monotonic() < began + 2 * drill.within_s and paged_s is None:
        if drill.alert in sounding(settings):
            paged_s = time.monotonic() - began
        time.sleep(0.5)
    others = [name for name in sounding(settings) if name not in {drill.alert, *before}]
    findings = json.loads(run_cli(settings, "doctor", "--live", "--json").stdout)["findings"]
    mended = run_cli(settings, *drill.mend)
    assert mended.returncode == 0, mended.stderr
    began = time.monotonic()
    until(
        lambda: drill.alert not in sounding(settings) and stack.report(settings)["state"] in ("ready", "degraded"),
        RECOVERED_WITHIN_S,
        f"{drill.fault} to be over",
    )  # fmt: skip
    recovered_s = time.monotonic() - began
    out, err = traffic.communicate(timeout=seconds + 300)
    assert out, err
    summary: dict[str, Any] = json.loads(out)
    return Result(
        drill,
        paged_s,
        others,
        findings[0]["what"] if findings else "(none)",
        recovered_s,
        summary["missing"],
        summary["duplicated"],
    )


def sounding(settings: Settings) -> list[str]:
    """The pages that fire and are neither silenced nor the consequence of another one."""
    try:
        return [one.alert for one in firing(settings.alertmanager) if one.severity == "page" and not one.silenced]  # fmt: skip
    except AlertmanagerUnavailable:
        return []


def table(results: list[Result]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| fault | page | after, s | at most, s | other pages | first line of `tollgate doctor --live` | runbook step | well again after, s | lost | doubled |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.drill.fault} | {r.drill.alert} | {'none' if r.paged_s is None else f'{r.paged_s:.0f}'} | {r.drill.within_s:.0f} "
        f"| {', '.join(r.others) or '-'} | {r.diagnosis[:120]} | `tollgate {' '.join(r.drill.mend)}` | {r.recovered_s:.0f} "
        f"| {r.missing} | {r.doubled} |"
        for r in results
    ]
    return "\n".join(lines)


def main() -> int:
    """Exit code 0: every page came in time and nothing was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="FAULT", choices=[drill.fault for drill in DRILLS])
    args = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="tg-drill-"))
    settings = stack.settings_for(home, stack.free_port_base())
    results = []
    try:
        settings = start_whole_stack(settings)
        for drill in DRILLS:
            if args.only is None or drill.fault in args.only:
                print(f"{drill.fault} ...", file=sys.stderr, flush=True)
                results.append(run(settings, drill))
                print(table(results[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    finally:
        stack.stop(settings, purge=True)
    print(table(results))
    return 0 if results and all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
