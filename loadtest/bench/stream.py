"""What the stream sustains, in one table: latency and CPU by rate, everything running beside.

    python -m loadtest.bench.stream [--home DIR | --port-base N] [--rates 1000,10000,20000,30000] [--runs 5] [--seconds 60]

On a running stack that serves a model (``--home``), else on one of its own. Latency runs from the broker's append on
`transactions` to its append on `decisions`, of committed decisions; producer and measurement take their share of the same
cores. Archive, labels and drift are part of the stack and work beside; a tenth of the transactions gets its label some seconds later.
Nothing is asserted: the targets stand beside the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from loadtest.bench.running_stack import StackError, running_stack
from loadtest.bench.table import Row, conditions, left_out, markdown

TOLLGATE = str(Path(sys.executable).parent / "tollgate")
PORT_BASE = 25400
RATES = (1_000, 10_000, 20_000, 30_000)
#: of each rate once before it counts: caches of the processor fill, fetch sizes adapt
WARM_S = 10
#: the deadline of a decision; a rate is sustained when 99 of 100 come within it and all come once
SUSTAINED_MS = 100.0
#: labels follow their transactions by so many seconds: a tenth of them is told of, as in the simulator's other runs, and
#: the decision is there by then where the rate is sustained
LABELS_AFTER_S = 5
#: for decisions that come after the last transaction
LATE_S = 60
_TARGETS = {
    1_000: ("p50 10, p99 40", "p50 5, p99 15"),
    10_000: ("p99 100", ""),
    20_000: ("", "p99 100"),
    30_000: ("", "p99 100"),
}


@dataclass
class Runs:
    """What ``tollgate simulate --json`` said of the runs at one rate."""

    rate: int
    summaries: list[dict[str, Any]] = field(default_factory=list)
    #: why there are none
    why: str = ""

    def latency(self, name: str) -> list[float]:
        return [summary["latency_ms"][name] for summary in self.summaries]

    def cpu_us(self) -> list[float]:
        return [summary["cpu_us_per_transaction"]["total"] for summary in self.summaries]

    def cpu_by_process(self) -> dict[str, float]:
        """Median over the runs, us a transaction, largest first."""
        shares = [summary["cpu_us_per_transaction"]["by_process"] for summary in self.summaries]
        found = {name: median(share.get(name, 0.0) for share in shares) for name in shares[0]}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def labels(self) -> int:
        """How many a run sent; the median."""
        return int(median(summary.get("labels", 0) for summary in self.summaries))

    def unaccounted(self) -> int:
        return sum(summary["missing"] + summary["duplicated"] for summary in self.summaries)

    def not_in_full(self) -> float:
        """Share of decisions that are not ``scored``."""
        decided = [summary["decided"] for summary in self.summaries]
        scored = sum(d["scored"] for d in decided)
        return float(1 - scored / max(1, sum(sum(d.values()) for d in decided)))

    @property
    def sustained(self) -> bool:
        return bool(median(self.latency("p99")) <= SUSTAINED_MS and self.unaccounted() == 0)


class RunFailed(Exception):
    """A run at a rate gave no summary; the text says what it said instead."""


def simulate(home: str, rate: int, seconds: float, seed: int) -> dict[str, Any]:
    """One run on a stack.

    Raises:
        RunFailed: it printed no summary, or took far longer than it should.
    """
    command = [TOLLGATE, "simulate", "--home", home, "--rate", str(rate), "--seconds", f"{seconds:g}"]
    command += ["--seed", str(seed), "--wait", str(LATE_S), "--labels-after", str(LABELS_AFTER_S), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * seconds + 300, check=False)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"{rate}/s for {seconds:g} s was not done after {error.timeout:g} s") from error
    except (json.JSONDecodeError, IndexError):
        raise RunFailed(f"{rate}/s: exit {done.returncode}: {done.stderr.strip()[-300:]}") from None
    return found


def measure(home: str, rates: Sequence[int], runs: int, seconds: float) -> Iterator[Runs]:
    """Each rate ``runs`` times, ascending; above the first that is far from sustained, or fails, they say why they were left out."""
    why = ""
    for rate in sorted(rates):
        found = Runs(rate, why=why)
        if not why:
            try:
                _run_all(home, found, runs, seconds)
            except RunFailed as error:
                found.why = why = str(error)
            if found.summaries and not found.sustained and median(found.latency("p50")) > SUSTAINED_MS:
                why = f"{rate:,}/s is not sustained here: p50 {median(found.latency('p50')):,.0f} ms"
        yield found


def _run_all(home: str, found: Runs, runs: int, seconds: float) -> None:
    simulate(home, found.rate, WARM_S, 1)
    for _ in range(runs):
        # one world for all rates: the stack knows its cards, as a stack at work does
        found.summaries.append(simulate(home, found.rate, seconds, 1))
        if found.latency("p50")[0] > 10 * SUSTAINED_MS:
            break


def stream_rows(found: Runs, seconds: float) -> list[Row]:
    """The table's rows for one rate."""
    name = f"stream, {found.rate:,}/s for {seconds:g} s"
    latency, cpu = f"{name}: p99 append to append", f"{name}: CPU, all processes"
    targets = _TARGETS.get(found.rate, ("", ""))
    cpu_targets = ("150", "75") if found.rate >= 10_000 else ("", "")
    if not found.summaries:
        return [left_out(latency, found.why, *targets), left_out(cpu, found.why, *cpu_targets)]
    shares = ", ".join(f"{name} {us:.0f}" for name, us in found.cpu_by_process().items() if us >= 1)
    full, unaccounted = found.not_in_full(), found.unaccounted()
    note = (
        f"p50 {median(found.latency('p50')):.0f}, p99.9 {median(found.latency('p999')):.0f}, longest {max(found.latency('max')):.0f} ms; "
        f"missing or doubled {unaccounted}; not scored in full {full:.2%}; {found.labels():,} labels a run"
    )
    if found.why:
        note += f"; a later run failed: {found.why}"
    return [
        Row(latency, found.latency("p99"), "ms", *targets, note=note),
        Row(cpu, found.cpu_us(), "us a transaction", *cpu_targets, note=shares),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", help="a running stack that serves a model; default: one of its own")
    parser.add_argument("--port-base", type=int, default=PORT_BASE, help="of a stack of its own")
    parser.add_argument("--rates", default=",".join(map(str, RATES)))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    rates = [int(rate) for rate in args.rates.split(",")]
    rows: list[Row] = []
    try:
        with running_stack(args.home, args.port_base) as settings:
            for found in measure(settings.home, rates, args.runs, args.seconds):
                rows += stream_rows(found, args.seconds)
                print(markdown(rows[-2:]).split("\n", 2)[2], flush=True)
    except (StackError, RunFailed) as error:
        rows.append(left_out("stream", str(error)))
    print(f"\n{markdown(rows)}\n\n{conditions()}")


if __name__ == "__main__":
    main()
