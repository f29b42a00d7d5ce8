"""Processes partitions of the log in parallel, each in its own process, and reports progress."""

from __future__ import annotations

import multiprocessing
import os
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from streams.log.topics import DAY_MS, ENTITIES, STATE_LOG_MS, TRANSACTIONS
from streams.processor.intake import Stretch
from streams.runtime.kafka.log_reader import LogRow, Span, read_span
from streams.runtime.process import quiet_collector
from streams.runtime.settings import Settings
from streams.runtime.skips import Skips
from streams.state.rebuild import CardBuilder, Done, EntityBuilder

Say = Callable[[str], None]
SAY_EVERY_S = 2.0
#: a worker that reports nothing for this long counts as dead
STALL_S = 300.0
_told: Any = None


class Total:
    """Sums over all partitions."""

    def __init__(self, done: Sequence[Done]) -> None:
        self.transactions = sum(part.records for part in done if part.topic == TRANSACTIONS.name)
        self.items = sum(part.records for part in done if part.topic == ENTITIES.name)
        self.entities = sum(part.entities for part in done)


def warn_truncated(first: Span, say: Say) -> None:
    """Warn if the log does not go back to its beginning."""
    kept = [
        f"{topic}[{p}] from offset {offset:,}"
        for topic, ps in first.items()
        for p, offset in ps.items()
        if offset
    ]
    if kept:
        say(
            f"the log does not go back to its beginning ({', '.join(kept)}): windows are complete if it holds the last "
            f"{STATE_LOG_MS // DAY_MS} days; ages, habits and first times start with its first record"
        )


def by_partition(
    work: Callable[..., Done],
    home: str,
    spans: Sequence[tuple[str, int, int, int]],
    say: Say,
    *more: Any,
    processes: int,
    niceness: int = 0,
) -> list[Done]:
    """Call ``work(home, topic, partition, start, stop, *more)`` for each span, in processes.

    Raises:
        TimeoutError: a worker hangs. Whatever ``work`` raises.
    """
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    wanted = sum(max(0, stop - start) for _, _, start, stop in spans)
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(told, niceness)
    ) as pool:
        # longest first, so that no core is left working alone: transactions, then the partitions with most records
        order = sorted(spans, key=lambda span: (span[0] != TRANSACTIONS.name, span[2] - span[3]))
        futures = [pool.submit(work, home, *span, *more) for span in order]
        _follow(futures, told, wanted, say)
        return [future.result() for future in futures]


def feed(
    settings: Settings,
    builder: CardBuilder | EntityBuilder,
    topic: str,
    partition: int,
    start: int,
    stop: int,
) -> int:
    """Pass the records of one partition from ``start`` up to, not including, ``stop`` to a builder; returns their number."""

    skips = Skips(settings.run_dir)

    def take(read: list[Any]) -> None:
        records = skips.left_in(read)
        if isinstance(builder, CardBuilder):
            builder.add(_stretch(partition, records))
        else:
            builder.add(list(map(LogRow.of, records)))
        if _told is not None:
            _told.put(len(read))

    if stop <= start:
        return 0
    return read_span(settings.kafka, {topic: {partition: start}}, {topic: {partition: stop}}, take)


def _stretch(partition: int, records: list[Any]) -> Stretch:
    return Stretch(
        partition,
        [record.offset() for record in records],
        [record.timestamp()[1] for record in records],
        [record.value() for record in records],
    )


def _follow(futures: list[Future[Any]], told: Any, wanted: int, say: Say) -> None:
    """Report progress until all is done, and once at the end, even after a short run.

    Raises:
        TimeoutError: no worker has read a record or finished for STALL_S.
    """
    read, began = 0, time.monotonic()
    said = moved = began
    while not all(future.done() for future in futures):
        try:
            read += told.get(timeout=0.2)
            moved = time.monotonic()
        except queue.Empty:
            if time.monotonic() - moved > STALL_S:
                raise TimeoutError(f"no record was read for {STALL_S:g} s") from None
        if any(future.done() and future.exception() for future in futures):
            return
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            # a log that grows gives more records than it had at first
            say(_how_far(read, max(read, wanted), said - began))
    if whole := max(read, wanted):
        # the last reports of the workers may not have arrived yet
        say(_how_far(whole, whole, time.monotonic() - began))


def _how_far(read: int, wanted: int, seconds: float) -> str:
    return f"{read:,} of {wanted:,} records, {read / max(seconds, 1e-9):,.0f} a second"


def _begin(told: Any, niceness: int) -> None:
    global _told
    _told = told
    os.nice(niceness)
    # a batch is 10,000 records of many objects without cycles: garbage collection took a third of a rebuild
    quiet_collector()
