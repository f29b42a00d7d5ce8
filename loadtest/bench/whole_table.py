"""The whole table: stream, ratios to a bare pipe and to Kafka Streams, swap, HTTP, explanations, memory. ``make bench``

    python -m loadtest.bench [--runs 5] [--seconds 60] [--rates 1000,10000,20000] [--quick] [--report]
                             [--only stream,ratio,swap,http,explained,state,gpu,scorer,profile]

Stream, ratio, swap, HTTP and profile each start their own stack, one after the other. A fixed loop before and after each section measures
the machine's speed. ``--report`` writes the table to ``loadtest/reports/<date>-scoring.md`` with plots of the stream, and never
overwrites a report. ``--quick``: each section in less than three minutes, to check that it runs. ``make bench-features`` has a table
of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.bench import explained as bench_explained
from loadtest.bench import http as bench_http
from loadtest.bench import ratio as bench_ratio
from loadtest.bench import state as bench_state
from loadtest.bench import stream as bench_stream
from loadtest.bench.harness import machine_speed as bench_calibration
from loadtest.bench.harness import profiling
from loadtest.bench.harness.report import LATENCY, short_of_targets
from loadtest.bench.harness.running_stack import StackError, running_stack
from loadtest.bench.harness.stream_plots import plot_cpu, plot_latency
from loadtest.bench.harness.table import Row, chosen_sections, left_out, shown, write_report
from loadtest.bench.http_load.measuring import OfferError
from loadtest.bench.models import gpu as bench_gpu
from loadtest.bench.models import scorer as bench_scorer
from loadtest.bench.models import swap as bench_swap
from loadtest.peers.installing import PeerError

SECTIONS = ("stream", "ratio", "swap", "http", "explained", "state", "gpu", "scorer", "profile")
SWAP_RATE = 5_000
#: at which processes are looked into
PROFILED_RATE = 8_000


@dataclass(frozen=True)
class Size:
    """How much is measured: runs of each kind, seconds of each, and the rates of the stream."""

    runs: int
    seconds: float
    rates: tuple[int, ...]
    warm_s: float = bench_stream.WARM_S
    #: of each offer to the HTTP edge; of each process that is looked into
    http_seconds: float = 5.0
    profile_seconds: float = 6.0
    cards: int = bench_state.CARDS
    scorer_rows: int = 60_000
    ratio_rate: int = bench_ratio.RATE
    swaps: int = bench_swap.SWAPS
    swap_http_seconds: float = bench_swap.HTTP_SECONDS


def quick(rates: tuple[int, ...]) -> Size:
    """The smallest size, to check that everything runs."""
    return Size(
        1, 5.0, rates, warm_s=3.0, http_seconds=1.0, profile_seconds=1.0, cards=1_000, scorer_rows=5_000,
        ratio_rate=1_000, swaps=2,
        swap_http_seconds=25.0,
    )  # fmt: skip


@dataclass
class Found:
    """Data for the text around the table: the stream's runs, and the machine's speed."""

    streamed: list[bench_stream.Runs] = field(default_factory=list)
    looks: list[bench_calibration.Speed] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run of the stream")
    parser.add_argument("--rates", default=",".join(map(str, bench_stream.RATES)))
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="one short run of everything")
    parser.add_argument("--report", action="store_true")
    args = parser.parse_args()
    chosen = chosen_sections(parser, args.only, SECTIONS)
    rates = tuple(int(rate) for rate in args.rates.split(","))
    size = quick(rates) if args.quick else Size(args.runs, args.seconds, rates)
    found = Found()
    rows = shown(measure(chosen, size, found))
    more = [bench_calibration.describe(found.looks) + ".", LATENCY, short_of_targets(rows)]
    print("\n" + "\n\n".join(more))
    if args.report:
        how = "--quick" if args.quick else f"--runs {args.runs} --seconds {args.seconds:g}"
        command = f"python -m loadtest.bench {how} --rates {args.rates} --only {args.only}"
        path = write_report(rows, command, "scoring", "Scoring within the deadline", more=more)
        if found.streamed:
            _add_plots(path, found.streamed)
        print(f"written to {path}")


def measure(chosen: list[str], size: Size, found: Found) -> Iterator[Row]:
    """The rows of the chosen sections as they are measured, each section between two looks at the machine's speed."""
    sections: dict[str, Callable[[], Iterable[Row]]] = {
        "stream": lambda: _stream(size, found),
        "ratio": lambda: _ratio(size),
        "swap": lambda: _swap(size),
        "http": lambda: bench_http.http_rows(None, bench_http.Size(size.runs, size.http_seconds)),
        "explained": lambda: bench_explained.explained_rows(size.seconds),
        "state": lambda: bench_state.state_rows(size.cards),
        "gpu": bench_gpu.rows_here,
        "scorer": lambda: bench_scorer.scorer_rows(size.scorer_rows),
        "profile": lambda: _profile(size),
    }
    for name in SECTIONS:
        if name not in chosen:
            continue
        looks = [bench_calibration.measure()]
        try:
            yield from sections[name]()
        except (StackError, bench_stream.RunFailed, bench_gpu.WrongScores, OfferError, PeerError) as error:
            yield left_out(name, str(error))
        looks.append(bench_calibration.measure())
        found.looks += looks
        what = f"machine: calibration loop before and after {name}"
        yield Row(what, [look.cpu_ms for look in looks], "ms of CPU")


def _stream(size: Size, found: Found) -> Iterator[Row]:
    try:
        with running_stack(None, bench_stream.PORT_BASE) as settings:
            for runs in bench_stream.measure(settings.home, size.rates, size.runs, size.seconds, size.warm_s):
                if runs.summaries:
                    found.streamed.append(runs)
                yield from bench_stream.stream_rows(runs, size.seconds)
    except StackError as error:
        for rate in size.rates:
            yield from bench_stream.stream_rows(bench_stream.Runs(rate, why=str(error)), size.seconds)


def _ratio(size: Size) -> Iterator[Row]:
    with running_stack(None, bench_ratio.PORT_BASE) as settings:
        yield from bench_ratio.ratio_rows(settings, size.ratio_rate, size.runs, size.seconds, warm_s=size.warm_s)  # fmt: skip


def _swap(size: Size) -> Iterator[Row]:
    with running_stack(None, bench_stream.PORT_BASE) as settings:
        yield from bench_swap.swap_rows(settings, [SWAP_RATE], swaps=size.swaps, http_seconds=size.swap_http_seconds)  # fmt: skip


def _profile(size: Size) -> Iterator[Row]:
    with running_stack(None, profiling.PORT_BASE) as settings:
        yield from profiling.profile_rows(settings, PROFILED_RATE, size.profile_seconds)
        yield from profiling.http_profile_rows(settings, profiling.HTTP_RATE, size.profile_seconds)


def _add_plots(report: Path, streamed: list[bench_stream.Runs]) -> None:
    latency, cpu = (report.with_name(f"{report.stem}-{name}.png") for name in ("latency", "cpu"))
    plot_latency(streamed, latency)
    plot_cpu(streamed, cpu)
    with report.open("a") as text:
        text.write(f"\n![Latency by rate]({latency.name})\n\n![CPU by process]({cpu.name})\n")


if __name__ == "__main__":
    main()
