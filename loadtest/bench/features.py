"""Cost of features, in one table: the kernel, the processor's process, Redis, the offline engine, and other tools.

    python -m loadtest.bench.features [--quick] [--only kernel,processor,offline,peers,hot,rebuild] [--report]

CPU time, not wall time: a busy machine changes it by some tenths, not by multiples. Nothing is asserted; the table shows targets
next to the figures. Rows that cannot run on this machine say why.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from loadtest.bench.features_parts.hot import MIXES, hot_rows
from loadtest.bench.features_parts.kafka_and_redis import Parts, PartsError, running_parts
from loadtest.bench.features_parts.kernel import kernel_rows
from loadtest.bench.features_parts.offline import offline_row
from loadtest.bench.features_parts.peers import peer_rows
from loadtest.bench.features_parts.processor import processor_rows
from loadtest.bench.features_parts.rebuilding import rebuild_rows
from loadtest.bench.features_parts.traffic import Traffic, make_traffic
from loadtest.bench.harness.table import Row, chosen_sections, left_out, shown, write_report

SECTIONS = ("kernel", "processor", "peers", "offline", "hot", "rebuild")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    #: for the kernel: cards, batches of 256 in each of its seven runs, numbers of entities
    kernel_cards: int
    kernel_batches: int
    entities: tuple[int, ...]
    #: for the processor: cards, transactions of each of its two mixes
    cards: int
    transactions: int
    #: transactions that each peer gets
    peer_transactions: int
    replays: int


WHOLE = Size(10_000, 24, (10_000, 100_000, 1_000_000, 10_000_000), 10_000, 300_000, 600_000, 3)
QUICK = Size(2_000, 6, (10_000, 1_000_000), 2_000, 30_000, 30_000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, to check that it runs")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--report", action="store_true", help="write loadtest/reports/<date>-features.md too")
    parser.add_argument(
        "--port-base", type=int, default=0, help="of Kafka and Redis; default: any free block"
    )
    args = parser.parse_args()
    chosen = chosen_sections(parser, args.only, SECTIONS)
    rows = shown(measure(chosen, QUICK if args.quick else WHOLE, args.port_base))
    if args.report:
        command = f"python -m loadtest.bench.features --only {args.only}{' --quick' if args.quick else ''}"
        print(f"written to {write_report(rows, command, 'features', 'What features cost')}")


def measure(chosen: list[str], size: Size, port_base: int) -> Iterator[Row]:
    """The rows of the chosen sections."""
    if "kernel" in chosen:
        yield from kernel_rows(size.kernel_cards, size.kernel_batches, size.entities)
    if "offline" in chosen:
        yield offline_row(size.replays)
    if "processor" in chosen or "peers" in chosen:
        mixes = partial(_mixes, size.peer_transactions if "peers" in chosen else 0)
        yield from _with_parts("processor and peers", (size.cards, 2 * size.transactions), port_base, mixes)
    if "hot" in chosen:
        yield from _with_parts("hot keys", (size.cards, MIXES * size.transactions), port_base, hot_rows)
    if "rebuild" in chosen:
        yield from _with_parts("rebuild", (size.cards, 2 * size.transactions), port_base, rebuild_rows)


def _mixes(peer_transactions: int, parts: Parts, traffic: Traffic) -> Iterator[Row]:
    rows, ours = processor_rows(parts, traffic)
    yield from rows
    if peer_transactions:
        yield from peer_rows(parts, traffic, peer_transactions, ours)


def _with_parts(
    what: str, world: tuple[int, int], port_base: int, rows: Callable[[Parts, Traffic], Iterator[Row]]
) -> Iterator[Row]:
    """The rows of a section that needs Kafka, Redis and traffic; ``world``: numbers of cards and transactions."""
    traffic = make_traffic(*world, datetime.now(UTC))
    try:
        with running_parts(port_base) as parts:
            if parts.embedded:
                yield left_out(what, "no Kafka here, only its mock")
                return
            yield from rows(parts, traffic)
    except PartsError as error:
        yield left_out(what, str(error))


if __name__ == "__main__":
    main()
