"""A soak: does anything grow while traffic is steady? Memory, open files and threads of every process, for twenty minutes and longer.

    python -m loadtest.bench.soak [--minutes 20] [--rate 2000] [--home DIR | --port-base N]

The first fifth of the time warms up. The second fifth is compared with the last: a process of ours that uses over 5 % more memory, files or
threads leaks. What Kafka, Redis, Prometheus, Alertmanager and MLflow keep in memory grows with what they are given to keep, and is only shown.
Exit code 1: something of ours grew, or transactions were lost or doubled.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import msgspec
import psutil

from loadtest.bench.harness.running_stack import processes, running_stack
from loadtest.bench.harness.table import conditions
from loadtest.bench.stream import simulate
from streams.runtime.settings import Settings

MINUTES, RATE, SEED = 20.0, 2_000, 71
#: asking for the status takes a second of a core
EVERY_S = 10.0
PORT_BASE = 26900
#: share by which ours may grow; smaller amounts than these are one connection or one buffer more, not a leak
MAX_GROWTH = 0.05
SLACK = {"MB": 6.0, "files": 4.0, "threads": 2.0}
#: of the soak's own stack, MB: a cache of profiles that is full after the warm-up, or it would look like a leak
CACHE_MB = 64
KEEPERS = ("kafka", "redis", "prometheus", "alertmanager", "mlflow")
#: the time is cut into so many parts; the second is compared with the last
PARTS = 5


class Usage(NamedTuple):
    """What one process with its children uses at a moment; ``at_s``: since the soak began."""

    at_s: float
    process: str
    mb: float
    files: int
    threads: int


@dataclass(frozen=True)
class Trend:
    """How one figure of a process went: means of the second and of the last part."""

    process: str
    what: str
    early: float
    late: float

    @property
    def growth(self) -> float:
        """Relative; 0.05 is 5 % more."""
        return self.late / self.early - 1 if self.early else 0.0

    @property
    def judged(self) -> bool:
        return not (self.what == "MB" and self.process in KEEPERS)

    @property
    def leaks(self) -> bool:
        return self.judged and self.growth > MAX_GROWTH and self.late - self.early > SLACK[self.what]


def usage_of(settings: Settings, at_s: float) -> list[Usage]:
    """All processes now; one that has just ended is left out."""
    listed = processes(settings)
    pids = {row["pid"] for row in listed}
    found = []
    for row in listed:
        if row["pid"] is None:
            continue
        try:
            process = psutil.Process(row["pid"])
            family = [process, *(each for each in process.children(recursive=True) if each.pid not in pids)]
            memory = sum(each.memory_info().rss for each in family) / 2**20
            files, threads = (
                sum(each.num_fds() for each in family),
                sum(each.num_threads() for each in family),
            )
        except psutil.NoSuchProcess:
            continue
        found.append(Usage(at_s, row["name"], memory, files, threads))
    return found


def trends(seen: Sequence[Usage], seconds: float) -> list[Trend]:
    """One for each process and figure, of the processes that were there in both parts."""
    part_s = seconds / PARTS
    found = []
    for name in dict.fromkeys(one.process for one in seen):
        own = [one for one in seen if one.process == name]
        early = [one for one in own if part_s <= one.at_s < 2 * part_s]
        late = [one for one in own if (PARTS - 1) * part_s <= one.at_s <= seconds]
        if early and late:
            found += [
                Trend(name, what, mean(getattr(one, field) for one in early), mean(getattr(one, field) for one in late))
                for what, field in (("MB", "mb"), ("files", "files"), ("threads", "threads"))
            ]  # fmt: skip
    return found


def soak(settings: Settings, rate: int, seconds: float) -> tuple[list[Trend], dict[str, Any]]:
    """Send steady traffic and watch; returns the trends and the traffic's summary."""
    seen: list[Usage] = []
    stop = threading.Event()
    began = time.monotonic()

    def watch() -> None:
        while not stop.is_set():
            seen.extend(usage_of(settings, time.monotonic() - began))
            stop.wait(EVERY_S)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        summary = simulate(settings.home, rate, seconds, SEED)
    finally:
        stop.set()
        watching.join(60.0)
    return trends(seen, seconds), summary


def table(found: Sequence[Trend]) -> str:
    """A Markdown table: a row for each process, what grew most first."""
    lines = [
        "| process | MB early | MB late | | files early | files late | | threads early | threads late | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_process = {name: [one for one in found if one.process == name] for name in dict.fromkeys(one.process for one in found)}  # fmt: skip
    for name, own in sorted(by_process.items(), key=lambda each: -max(one.growth for one in each[1])):
        cells = [
            f"{one.early:.0f} | {one.late:.0f} | {one.growth:+.1%}{' leaks' if one.leaks else '' if one.judged else ' (data)'}"
            for one in own
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--home", help="a stack that runs and serves a model; default: one of its own")
    parser.add_argument("--port-base", type=int, default=PORT_BASE)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tollgate-soak-") as folder:
        own = msgspec.structs.replace(Settings(home=str(Path(folder) / "s")), profile_cache_mb=CACHE_MB)
        if args.home is None:
            own.save()
        with running_stack(args.home, args.port_base, folder=own.home) as settings:
            found, summary = soak(settings, args.rate, args.minutes * 60)
    print(table(found))
    latency = summary["latency_ms"]
    print(
        f"\n{args.rate:,} a second for {args.minutes:g} minutes: {summary['produced']:,} sent, {summary['missing']} missing, "
        f"{summary['duplicated']} doubled; p50 {latency['p50']:.0f}, p99 {latency['p99']:.0f} ms\n{conditions()}"
    )
    leaks = [f"{one.process}: {one.what} {one.early:.0f} to {one.late:.0f}" for one in found if one.leaks]
    if leaks:
        print("grew: " + "; ".join(leaks), file=sys.stderr)
    return 1 if leaks or not found or summary["missing"] or summary["duplicated"] else 0


if __name__ == "__main__":
    sys.exit(main())
