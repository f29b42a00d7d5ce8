"""The whole table: stream, model swap, HTTP edge with its peer, GPU, scorer; medians, with targets beside. ``make bench``

    python -m loadtest.bench [--runs 5] [--seconds 60] [--rates 1000,10000,20000,30000]
                             [--only stream,swap,http,gpu,scorer,profile] [--report]

One stack of its own for each of stream, swap, HTTP and profile, one after the other. With ``--report`` the table is written to
``loadtest/reports/<date>-scoring.md`` with plots of what the stream did. ``make bench-features`` has a table of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from loadtest.bench import gpu as bench_gpu
from loadtest.bench import http as bench_http
from loadtest.bench import profiling
from loadtest.bench import scorer as bench_scorer
from loadtest.bench import stream as bench_stream
from loadtest.bench import swap as bench_swap
from loadtest.bench.http_load.measuring import OfferError
from loadtest.bench.running_stack import StackError, running_stack
from loadtest.bench.stream_plots import plot_cpu, plot_latency
from loadtest.bench.table import Row, conditions, left_out, markdown, write_report

REPORTS = Path(__file__).parents[1] / "reports"
SECTIONS = ("stream", "swap", "http", "gpu", "scorer", "profile")
#: of each offer to the HTTP edge
HTTP_SECONDS = 5.0
#: at which processes are looked into, and for how long each
PROFILED_RATE, PROFILE_SECONDS = 8_000, 6.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    runs: int
    seconds: float
    rates: tuple[int, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run of the stream")
    parser.add_argument("--rates", default=",".join(map(str, bench_stream.RATES)))
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--report", action="store_true")
    args = parser.parse_args()
    chosen = args.only.split(",")
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    size = Size(args.runs, args.seconds, tuple(int(rate) for rate in args.rates.split(",")))
    rows: list[Row] = []
    streamed: list[bench_stream.Runs] = []
    for row in measure(chosen, size, streamed):
        # one after the other: who watches sees how far it is
        print(markdown([row]).splitlines()[-1], flush=True)
        rows.append(row)
    print(f"\n{markdown(rows)}\n\n{conditions()}")
    if args.report:
        command = f"python -m loadtest.bench --runs {args.runs} --seconds {args.seconds:g} --rates {args.rates} --only {args.only}"
        path = write_report(REPORTS, rows, command, "scoring", "Scoring within the deadline")
        if streamed:
            _add_plots(path, streamed)
        print(f"written to {path}")


def measure(chosen: list[str], size: Size, streamed: list[bench_stream.Runs]) -> Iterator[Row]:
    """The rows of the chosen sections as they are measured; ``streamed`` gets what the stream's runs said."""
    sections = {
        "stream": _stream,
        "swap": _swap,
        "http": _http,
        "gpu": _gpu,
        "scorer": _scorer,
        "profile": _profile,
    }
    for name in SECTIONS:
        if name not in chosen:
            continue
        try:
            yield from sections[name](size, streamed)
        except (
            StackError,
            bench_stream.RunFailed,
            bench_swap.BenchError,
            bench_gpu.WrongScores,
            OfferError,
        ) as error:
            yield left_out(name, str(error))


def _stream(size: Size, streamed: list[bench_stream.Runs]) -> Iterator[Row]:
    try:
        yield from _stream_on_a_stack(size, streamed)
    except StackError as error:
        for rate in size.rates:
            yield from bench_stream.stream_rows(bench_stream.Runs(rate, why=str(error)), size.seconds)


def _stream_on_a_stack(size: Size, streamed: list[bench_stream.Runs]) -> Iterator[Row]:
    with running_stack(None, bench_stream.PORT_BASE) as settings:
        for found in bench_stream.measure(settings.home, size.rates, size.runs, size.seconds):
            if found.summaries:
                streamed.append(found)
            yield from bench_stream.stream_rows(found, size.seconds)


def _swap(_size: Size, _streamed: list[bench_stream.Runs]) -> Iterator[Row]:
    with running_stack(None, bench_stream.PORT_BASE) as settings:
        yield from bench_swap.swap_rows(settings, list(bench_swap.RATES))


def _http(size: Size, _streamed: list[bench_stream.Runs]) -> Iterator[Row]:
    yield from bench_http.http_rows(None, bench_http.Size(size.runs, HTTP_SECONDS))


def _gpu(_size: Size, _streamed: list[bench_stream.Runs]) -> Iterator[Row]:
    yield from bench_gpu.rows_here()


def _scorer(_size: Size, _streamed: list[bench_stream.Runs]) -> Iterator[Row]:
    yield from bench_scorer.scorer_rows()


def _profile(_size: Size, _streamed: list[bench_stream.Runs]) -> Iterator[Row]:
    with running_stack(None, profiling.PORT_BASE) as settings:
        yield from profiling.profile_rows(settings, PROFILED_RATE, PROFILE_SECONDS)
        yield from profiling.http_profile_rows(settings, profiling.HTTP_RATE, PROFILE_SECONDS)


def _add_plots(report: Path, streamed: list[bench_stream.Runs]) -> None:
    today = date.today().isoformat()
    latency, cpu = (REPORTS / f"{today}-{name}.png" for name in ("stream-latency", "stream-cpu"))
    plot_latency(streamed, latency)
    plot_cpu(streamed, cpu)
    with report.open("a") as text:
        text.write(f"\n![Latency by rate]({latency.name})\n\n![CPU by process]({cpu.name})\n")


if __name__ == "__main__":
    main()
