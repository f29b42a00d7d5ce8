"""Latency and CPU of the stream by rate, in one table, with the whole stack running.

    python -m loadtest.bench.stream [--home DIR | --port-base N] [--rates 1000,10000,20000] [--runs 5] [--seconds 60]

Uses a running stack that serves a model (``--home``), or starts its own. Latency is the time between two Kafka timestamps: when the
broker wrote the transaction to `transactions`, and when it wrote the decision to `decisions`. Sender and measurement use the same
cores. Archive, labels and drift run too; a tenth of the transactions gets a label some seconds later. Nothing is asserted; the table
shows targets next to the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from loadtest.bench.harness.running_stack import TOLLGATE, StackError, running_stack
from loadtest.bench.harness.table import Row, left_out, shown

PORT_BASE = 25400
RATES = (1_000, 10_000, 20_000)
#: of each rate once before it counts: caches of the processor fill, fetch sizes adapt
WARM_S = 10
#: of a decision
DEADLINE_MS = 100.0
#: seconds from a transaction to its label; at a rate that is sustained the decision is made by then. A tenth of the transactions gets
#: a label, as in the simulator's other runs
LABELS_AFTER_S = 5
#: for decisions that come after the last transaction
LATE_S = 60
#: (at least, then) of a rate's lines
_TARGETS = {
    1_000: {"p50": ("10", "5"), "p99": ("40", "15")},
    10_000: {"p99": ("100", ""), "degraded": ("1", ""), "cpu": ("110", "75")},
    20_000: {"p99": ("", "100")},
}
#: share of the runs that must reach the target of p99
P99_SHARE = 0.8
#: targets at any rate: no transaction is missing or doubled
ACCOUNTED = ("0", "0")


@dataclass
class Runs:
    """Summaries of the runs at one rate, from ``tollgate simulate --json``."""

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

    def unaccounted(self) -> list[int]:
        return [summary["missing"] + summary["duplicated"] for summary in self.summaries]

    def degraded(self) -> list[float]:
        """Share of decisions that are not ``scored`` in full, percent."""
        decided = [summary["decided"] for summary in self.summaries]
        return [100 * (1 - d["scored"] / max(1, sum(d.values()))) for d in decided]


class RunFailed(Exception):
    """A run gave no summary; the text holds its error output."""


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


def measure(
    home: str, rates: Sequence[int], runs: int, seconds: float, warm_s: float = WARM_S
) -> Iterator[Runs]:
    """Each rate ``runs`` times, ascending. After the first rate that fails, the higher ones are left out, with the reason."""
    why = ""
    for rate in sorted(rates):
        found = Runs(rate, why=why)
        if not why:
            try:
                simulate(home, rate, warm_s, 1)
                for _ in range(runs):
                    # one world for all rates, so that the stack knows its cards, as in production
                    found.summaries.append(simulate(home, rate, seconds, 1))
            except RunFailed as error:
                found.why = why = str(error)
        yield found


def stream_rows(found: Runs, seconds: float) -> list[Row]:
    """The table's rows for one rate."""
    return figure_rows(found, f"stream, {found.rate:,}/s for {seconds:g} s", _TARGETS.get(found.rate, {}))


def figure_rows(found: Runs, name: str, targets: Mapping[str, tuple[str, str]]) -> list[Row]:
    """Latency, degraded decisions, losses and CPU of some runs; ``targets``: (at least, then) of ``p50``, ``p99``, ``degraded``, ``cpu``."""
    return [
        latency_row(found, "p50", name, targets.get("p50", ("", ""))),
        latency_row(found, "p99", name, targets.get("p99", ("", "")), P99_SHARE),
        _row(found, f"{name}: degraded or not scored", found.degraded(), "%", targets.get("degraded", ("", ""))),
        _row(found, f"{name}: missing or doubled", found.unaccounted(), "", ACCOUNTED, share=1.0),
        cpu_row(found, name, targets.get("cpu", ("", ""))),
    ]  # fmt: skip


def latency_row(
    found: Runs, point: str, name: str, targets: tuple[str, str] = ("", ""), share: float | None = None
) -> Row:
    """A percentile of the latency between the Kafka timestamps of transaction and decision."""
    note = ""
    if found.summaries and point == "p99":
        note = f"p99.9 {median(found.latency('p999')):.0f}, longest {max(found.latency('max')):.0f} ms"
    return _row(found, f"{name}: {point}", found.latency(point), "ms", targets, note=note, share=share)


def cpu_row(found: Runs, name: str, targets: tuple[str, str] = ("", "")) -> Row:
    """CPU of the stack's processes, in total and by process, without sender and measurement."""
    shares, note = "", ""
    if found.summaries:
        shares = ", ".join(f"{name} {us:.0f}" for name, us in found.cpu_by_process().items() if us >= 1)
        note = f"{found.labels():,} labels a run"
    return _row(
        found, f"{name}: CPU, all processes", found.cpu_us(), "us a transaction", targets, note=note, where=shares
    )  # fmt: skip


def _row(
    found: Runs, what: str, runs: Sequence[float], unit: str, targets: tuple[str, str], *, note: str = "", where: str = "",
    share: float | None = None,
) -> Row:  # fmt: skip
    if not found.summaries:
        return left_out(what, found.why, *targets)
    if found.why:
        note = "; ".join(filter(None, (note, f"a later run failed: {found.why}")))
    return Row(what, runs, unit, *targets, note=note, where=where, share=share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", help="a running stack that serves a model; default: one of its own")
    parser.add_argument("--port-base", type=int, default=PORT_BASE, help="of a stack of its own")
    parser.add_argument("--rates", default=",".join(map(str, RATES)))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    rates = [int(rate) for rate in args.rates.split(",")]
    shown(_on_a_stack(args.home, args.port_base, rates, args.runs, args.seconds))


def _on_a_stack(
    home: str | None, port_base: int, rates: list[int], runs: int, seconds: float
) -> Iterator[Row]:
    try:
        with running_stack(home, port_base) as settings:
            for found in measure(settings.home, rates, runs, seconds):
                yield from stream_rows(found, seconds)
    except StackError as error:
        yield left_out("stream", str(error))


if __name__ == "__main__":
    main()
