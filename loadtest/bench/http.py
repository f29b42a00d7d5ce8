"""Throughput and latency of the HTTP edge, in one table: single requests, batches, overload, and a FastAPI service for comparison.

    python -m loadtest.bench.http [--home DIR] [--runs 5] [--seconds 5] [--only single,overload,batch,peer] [--report]

On a running stack that serves a model (``--home``), else on one of its own. Everything goes through HAProxy and Ray
Serve, is published and acknowledged. The generator (``loadtest.bench.http_load.offer``) takes its share of the same cores.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

from loadtest.bench.harness.processes import cpu_s
from loadtest.bench.harness.running_stack import PORT_BASE, StackError, processes, running_stack
from loadtest.bench.harness.table import Row, chosen_sections, left_out, shown, write_report
from loadtest.bench.http_load.measuring import Climb, climb, run_offer
from loadtest.bench.http_load.offer import Offer, Outcome
from loadtest.bench.http_load.peer import model_file, running_peer
from loadtest.peers.installing import PeerError
from loadtest.traffic.measuring_client import cpu_us_per_transaction
from streams.runtime.settings import Settings

SECTIONS = ("single", "overload", "batch", "peer")
#: connections of the closed loops: single requests, batches of 500
CLOSED, BATCH, BATCH_CONNECTIONS = 32, 500, 2
PEER_WORKERS = (1, 2)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    runs: int = 5
    seconds: float = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", help="a running stack that serves a model; default: one of its own")
    parser.add_argument("--runs", type=int, default=Size.runs)
    parser.add_argument("--seconds", type=float, default=Size.seconds, help="of each offer")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--report", action="store_true", help="write loadtest/reports/<date>-http.md too")
    parser.add_argument("--port-base", type=int, default=PORT_BASE, help="of a stack of its own")
    args = parser.parse_args()
    chosen = chosen_sections(parser, args.only, SECTIONS)
    rows = shown(http_rows(args.home, Size(args.runs, args.seconds), chosen, args.port_base))
    if args.report:
        command = (
            f"python -m loadtest.bench.http --runs {args.runs} --seconds {args.seconds:g} --only {args.only}"
        )
        print(f"written to {write_report(rows, command, 'http', 'What the HTTP edge takes')}")


def http_rows(
    home: str | None, size: Size, chosen: list[str] | None = None, port_base: int = PORT_BASE
) -> Iterator[Row]:
    """The rows of the chosen sections (default: all), as they are measured; a part that fails gives a row with the reason."""
    wanted = chosen or list(SECTIONS)
    try:
        with running_stack(home, port_base) as settings:
            closed = [_closed(settings.http, size) for _ in range(size.runs)]
            yield _closed_row(closed)
            if {"single", "overload"} & set(wanted):
                rate = median(outcome.ok_rate for outcome in closed)
                yield from _open_rows(settings, size, rate, wanted)
            if "batch" in wanted:
                yield from _batch_rows(settings, size)
            if "peer" in wanted:
                yield from _peer_rows(settings, size)
    except StackError as error:
        yield left_out("HTTP edge", str(error))


def _closed(url: str, size: Size) -> Outcome:
    return run_offer(Offer(url, 0, size.seconds, connections=CLOSED))


def _closed_row(peaks: list[Outcome]) -> Row:
    p99 = ", ".join(f"{outcome.ok_ms.get('p99', 0):.0f}" for outcome in peaks)
    return Row(
        f"HTTP single, closed loop, {CLOSED} connections", [o.ok_rate for o in peaks], "requests/s",
        note=f"p99 {p99} ms; {_said(peaks)}",
    )  # fmt: skip


def _open_rows(settings: Settings, size: Size, closed_rate: float, wanted: list[str]) -> Iterator[Row]:
    """For each run: raise the rate up to the edge's peak, then offer twice the peak."""
    if not closed_rate:
        yield left_out("HTTP single, open loop", "the closed loop got no decision", "2,000", "3,500")
        return
    climbs, overloads = [], []
    for _ in range(size.runs):
        climbs.append(climb(Offer(settings.http, 0, size.seconds), closed_rate))
        if "overload" in wanted:
            rate = 2 * (climbs[-1].peak or closed_rate)
            overloads.append(run_offer(Offer(settings.http, rate, size.seconds, connections=1024)))
    if "single" in wanted:
        yield from _single_rows(settings, size, climbs)
    if overloads:
        yield from overload_rows(climbs, overloads)


def _single_rows(settings: Settings, size: Size, climbs: list[Climb]) -> Iterator[Row]:
    told = " ".join(f"{rate:.0f}/s: {o.ok_ms.get('p99', 0):.0f} ms" for rate, o in climbs[-1].steps)
    yield Row(
        "HTTP single, open loop, p99 < 50 ms", [one.borne.ok_rate if one.borne else 0.0 for one in climbs],
        "requests/s", "2,000", "3,500", more_is_better=True, note=f"p99 by rate offered in the last run: {told}",
    )  # fmt: skip
    before, outcome = processes(settings), _closed(settings.http, size)
    yield _cpu_row("HTTP single: CPU", settings, before, outcome, 1)


def overload_rows(climbs: list[Climb], outcomes: list[Outcome]) -> Iterator[Row]:
    """The rows at twice the peak; ``outcomes``: one for each of ``climbs``."""
    peaks = ", ".join(f"{one.peak:,.0f}{'' if one.over else ' and more'}" for one in climbs)
    given_up = sum(outcome.given_up for outcome in outcomes)
    yield Row(
        "HTTP overload at 2 x: p99 of accepted", [o.accepted_ms.get("p99", float("inf")) for o in outcomes], "ms", "100",
        note=f"peak {peaks}/s; let in and not decided {given_up:,}; {_said(outcomes)}",
    )  # fmt: skip
    yield Row(
        "HTTP overload at 2 x: goodput of peak",
        [100 * o.ok_rate / one.peak if one.peak else 0.0 for one, o in zip(climbs, outcomes, strict=True)], "%", "90",
        more_is_better=True, note=f"the generator's own share of the cores doubles too ({outcomes[-1].generator_cpu_s:.1f} s)",
    )  # fmt: skip
    yield Row(
        "HTTP overload at 2 x: p99 of refusals",
        [o.refused_ms.get("p99", 0.0) for o in outcomes],
        "ms",
        note="requests that were refused at once",
    )


def _batch_rows(settings: Settings, size: Size) -> Iterator[Row]:
    offer = Offer(
        settings.http, 0, size.seconds, batch=BATCH, connections=BATCH_CONNECTIONS, deadline_ms=1000
    )
    outcomes = []
    for _ in range(size.runs):
        before, outcome = processes(settings), run_offer(offer)
        outcomes.append(outcome)
    p99 = ", ".join(f"{outcome.ok_ms.get('p99', 0):.0f}" for outcome in outcomes)
    yield Row(
        f"HTTP batches of {BATCH}", [BATCH * o.ok_rate for o in outcomes], "tx/s", "15,000", "30,000",
        more_is_better=True, note=f"{BATCH_CONNECTIONS} connections, p99 of a batch {p99} ms; {_said(outcomes)}",
    )  # fmt: skip
    yield _cpu_row(f"HTTP batches of {BATCH}: CPU", settings, before, outcomes[-1], BATCH)


def _peer_rows(settings: Settings, size: Size) -> Iterator[Row]:
    """The peer with one worker and with two, in turn with ours, so that both see the same machine."""
    for workers in PEER_WORKERS:
        what = f"FastAPI + Feast SDK + Redis + XGBoost, {workers} worker{'s' if workers > 1 else ''}"
        ours, theirs, cpu_us = [], [], []
        try:
            with running_peer(settings, model_file(settings), workers) as (url, process):
                for _ in range(size.runs):
                    ours.append(_closed(settings.http, size).ok_rate)
                    used_s = cpu_s(process)
                    outcome = _closed(url, size)
                    theirs.append(outcome.ok_rate)
                    cpu_us.append((cpu_s(process) - used_s) * 1e6 / max(1, sum(outcome.statuses.values())))
        except PeerError as error:
            yield left_out(what, str(error))
            continue
        row = Row(what, theirs, "requests/s", note=f"{sum(cpu_us) / len(cpu_us):,.0f} us of CPU a request")
        yield row
        ratio = Row(
            f"HTTP single: ours / peer, {workers} worker{'s' if workers > 1 else ''}",
            [a / max(b, 1e-9) for a, b in zip(ours, theirs, strict=True)], "x", "5", "10",
            more_is_better=True, note="closed loop, pairs of runs one after the other; ours publishes, remembers ids, explains",
        )  # fmt: skip
        yield replace(ratio, factor=f"{ratio.middle:.1f} x")


def _cpu_row(
    what: str, settings: Settings, before: list[dict[str, object]], outcome: Outcome, batch: int
) -> Row:
    """CPU of the stack's processes per transaction, and the generator's."""
    count = batch * sum(outcome.statuses.values())
    used = cpu_us_per_transaction(before, processes(settings), count)
    by = sorted(used["by_process"].items(), key=lambda item: -item[1])
    told = ", ".join(f"{name} {us:.0f}" for name, us in by if us >= 1)
    generator = outcome.generator_cpu_s * 1e6 / max(1, count)
    return Row(what, [used["total"] or 0.0], "us a transaction", note=f"{told}; generator {generator:.0f}")


def _said(outcomes: list[Outcome]) -> str:
    """Numbers of answers by status, summed over the runs."""
    statuses: Counter[str] = Counter()
    looked: Counter[str] = Counter()
    for outcome in outcomes:
        statuses.update(outcome.statuses)
        looked.update(outcome.looked_into)
    lost = sum(outcome.unanswered for outcome in outcomes)
    parts = [f"{count:,} x {status}" for status, count in sorted(statuses.items())]
    parts += [f"sampled: {', '.join(f'{word} {n:,}' for word, n in looked.most_common(4))}"]
    return "; ".join(parts + ([f"{lost:,} unanswered"] if lost else []))


if __name__ == "__main__":
    main()
