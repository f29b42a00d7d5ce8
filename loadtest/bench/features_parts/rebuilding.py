"""``tollgate features rebuild`` on a log that a processor has processed: CPU of its processes, and transactions a second."""

from __future__ import annotations

from collections.abc import Iterator
from resource import RUSAGE_CHILDREN, getrusage
from time import process_time

from loadtest.bench.features_parts.kafka_and_redis import Parts
from loadtest.bench.features_parts.processor import ABSENT_IN_PAIRS, run_backlog
from loadtest.bench.features_parts.traffic import Traffic
from loadtest.bench.harness.table import Row
from streams.state.rebuild_log import rebuild

RUNS = 3


def rebuild_rows(parts: Parts, traffic: Traffic) -> Iterator[Row]:
    """Cards and merchants, as in the Handbook; the store is emptied before each run.

    Raises:
        ProcessorStuck: see ``run_backlog``. StoreUnavailable, LedgerUnreachable, TimeoutError: see ``rebuild``.
    """
    run_backlog(parts, traffic.measured.drop_columns(list(ABSENT_IN_PAIRS)))
    cost, rate = [], []
    for _ in range(RUNS):
        parts.store.flushall()
        began = _cpu_s()
        done = rebuild(parts.settings, lambda _: None)
        cost.append((_cpu_s() - began) * 1e6 / done.transactions)
        rate.append(done.transactions / done.seconds)
    note = f"{done.transactions:,} transactions, {done.entities:,} entities; start of its processes included"
    yield Row("rebuild of the state from the log, all its processes", cost, "us a transaction", note=note)
    yield Row(
        "the same in wall time, Kafka and Redis on the same cores",
        rate,
        "transactions/s",
        "100,000",
        more_is_better=True,
    )


def _cpu_s() -> float:
    """CPU seconds of this process and of its ended children."""
    children = getrusage(RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime
