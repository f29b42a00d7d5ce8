"""Cost and gain of more partitions, a second processor and a second scoring replica, on this machine:

    python -m loadtest.bench.scaling [--rate 5000] [--seconds 20]

Each shape gets its own stack. On two shared cores a second processor shows only the cost of the protocol (each reads the other's entities
with every chunk), and a second replica only the cost of cycles of half the size. The gain of a second machine is not measured.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from loadtest.bench.harness.running_stack import StackError, running_stack
from loadtest.bench.harness.table import Row, left_out, shown
from loadtest.bench.stream import WARM_S, RunFailed, Runs, cpu_row, latency_row, simulate
from streams.runtime.settings import Settings

PORT_BASE = 26600


class Shape(NamedTuple):
    """What differs between the stacks; fields are those of ``Settings``."""

    processors: int
    partitions: int
    stream_replicas: int = 1

    def __str__(self) -> str:
        counts = (
            (self.processors, "processor"),
            (self.stream_replicas, "replica"),
            (self.partitions, "partition"),
        )
        return ", ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counts)


SHAPES = (
    Shape(1, 2), Shape(1, 4), Shape(1, 16), Shape(1, 2, 2), Shape(1, 4, 2), Shape(1, 16, 2),
    Shape(2, 2), Shape(2, 4), Shape(2, 16), Shape(2, 4, 2),
)  # fmt: skip


def scaling_rows(rate: int, seconds: float) -> Iterator[Row]:
    """Latency and CPU of each shape."""
    for shape in SHAPES:
        with tempfile.TemporaryDirectory(prefix="tollgate-scaling-") as folder:
            # what a person would write there before `tollgate up`; the addresses follow from the ports
            settings = msgspec.structs.replace(Settings(home=str(Path(folder) / "s")), **shape._asdict())
            settings.save()
            try:
                with running_stack(None, PORT_BASE, folder=settings.home):
                    found = Runs(rate)
                    simulate(settings.home, rate, WARM_S, 1)
                    found.summaries.append(simulate(settings.home, rate, seconds, 1))
                    name = f"{shape}; {rate:,}/s for {seconds:g} s"
                    yield latency_row(found, "p99", name)
                    yield cpu_row(found, name)
            except (StackError, RunFailed) as error:
                yield left_out(str(shape), str(error))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    shown(scaling_rows(args.rate, args.seconds))


if __name__ == "__main__":
    main()
