"""The processor on a backlog: decode, state in Redis, kernel, encode, produce; with the CPU that Redis and Kafka use for it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from features.catalogue import FEATURES as CATALOGUE
from features.store.keys import GROUP, key, position_key
from features.store.redis_client import RespClient
from features.store.views import VIEWS
from loadtest.bench.features_parts.backlog import fill_store, send
from loadtest.bench.features_parts.kafka_and_redis import Parts
from loadtest.bench.features_parts.traffic import WARM_DAYS, Traffic, warm_state
from loadtest.bench.harness.processes import cpu_s, end
from loadtest.bench.harness.table import Row, left_out
from streams.log import topics
from streams.log.feature_batch import decode_vectors
from streams.runtime.kafka.log_reader import Span, end_of, read_span

TRANSACTIONS, ENTITIES, FEATURES = topics.TRANSACTIONS.name, topics.ENTITIES.name, topics.FEATURES.name
#: shares of the backlog that count, after one that warms up
RUNS = 5
POLL_S = 0.02
#: seconds without progress after which the processor counts as stuck
STUCK_S = 90.0
ABSENT_IN_PAIRS = ("customer_id", "device_id", "ip")
SAMPLED_KEYS = 500


class ProcessorStuck(Exception):
    """The processor ended, makes no progress, or dropped transactions as duplicates."""


@dataclass(frozen=True)
class Sample:
    """Totals so far: transactions handled, CPU seconds used, bytes sent to Redis."""

    done: int
    processor_s: float
    redis_s: float
    kafka_s: float
    redis_in_bytes: float


def processor_rows(parts: Parts, traffic: Traffic) -> tuple[list[Row], Row]:
    """Rows for cards with merchants and for all five entities; and the one that peers are compared with: cards with
    merchants, the processor's CPU and Redis' together.
    """
    client = RespClient(parts.settings.redis_address)
    fill_store(client, parts.settings.partitions, traffic, warm_state(traffic))
    client.close()
    rows: list[Row] = []
    half = traffic.measured.num_rows // 2
    pairs = traffic.measured.slice(0, half).drop_columns(list(ABSENT_IN_PAIRS))
    both = _rows("card and merchant", run_backlog(parts, pairs), rows)
    _rows("all five entities", run_backlog(parts, traffic.measured.slice(half)), rows)
    kinds = ("card", "customer", "merchant", "device", "ip")
    names = dict(
        zip(kinds, [traffic.card_names, traffic.customer_names, *traffic.shared_entity_names], strict=True)
    )
    rows += memory_rows(parts, names, f"{WARM_DAYS} days of history and what was measured")
    return rows, both


def run_backlog(parts: Parts, table: pa.Table) -> list[tuple[Sample, Sample]]:
    """Send a table to one processor in RUNS + 1 equal shares, each only when the one before is fully processed, `entities`
    included. Returns the totals before and after each share except the first.

    Raises:
        ProcessorStuck: it does not come to the end, or not every transaction gave features.
    """
    before = end_of(parts.settings.kafka, [FEATURES])
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.processor.main", "--home", parts.settings.home],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        looked = psutil.Process(process.pid)
        moments = [_sample(parts, looked)]
        each = table.num_rows // (RUNS + 1)
        for start in range(0, each * (RUNS + 1), each):
            send(parts.settings.kafka, TRANSACTIONS, table.slice(start, each))
            _until_done(parts, process)
            moments.append(_sample(parts, looked))
        made = _rows_since(parts.settings.kafka, before)
        if made != each * (RUNS + 1):
            raise ProcessorStuck(f"{each * (RUNS + 1)} transactions gave {made} rows of features")
        return list(pairwise(moments[1:]))
    finally:
        end(process)


def _rows_since(bootstrap: str, before: Span) -> int:
    """Rows that came on `features` behind some offsets."""
    rows: Counter[int] = Counter()

    def count(records: list[Any]) -> None:
        for record in records:
            rows[record.partition()] += len(decode_vectors(record.value(), record.partition()).event_ms)

    read_span(bootstrap, before, end_of(bootstrap, [FEATURES]), count)
    return rows.total()


def _sample(parts: Parts, processor: psutil.Process) -> Sample:
    done = sum(_positions(parts)[TRANSACTIONS].values())
    return Sample(done, cpu_s(processor), parts.redis_cpu_s(), parts.kafka_cpu_s(), parts.redis_in_bytes())


def _positions(parts: Parts) -> dict[str, dict[int, int]]:
    """How far the processor has applied each partition: topic -> partition -> next offset."""
    every = [(topic, p) for topic in (TRANSACTIONS, ENTITIES) for p in range(parts.settings.partitions)]
    found = parts.store.mget([position_key(*place, GROUP) for place in every])
    out: dict[str, dict[int, int]] = {TRANSACTIONS: {}, ENTITIES: {}}
    for (topic, p), value in zip(every, found, strict=True):
        out[topic][p] = int(value or 0)
    return out


def _until_done(parts: Parts, process: subprocess.Popen[bytes]) -> None:
    """Wait until everything on both topics is applied.

    Raises:
        ProcessorStuck: it ended, or nothing moves any more.
    """
    ends = end_of(parts.settings.kafka, [TRANSACTIONS])
    last, changed = None, time.monotonic()
    while True:
        now = _positions(parts)
        # the end of `entities` is known only after all transactions
        if (
            now[TRANSACTIONS] == ends[TRANSACTIONS]
            and now[ENTITIES] == end_of(parts.settings.kafka, [ENTITIES])[ENTITIES]
        ):
            return
        if now != last:
            last, changed = now, time.monotonic()
        if process.poll() is not None:
            raise ProcessorStuck(f"the processor ended with code {process.returncode}")
        if time.monotonic() - changed > STUCK_S:
            raise ProcessorStuck(f"the processor handled nothing for {STUCK_S:g} s; it stands at {last}")
        time.sleep(POLL_S)


def each(pairs: list[tuple[Sample, Sample]], name: str) -> list[float]:
    """One of ``Sample``'s totals per transaction, for each share; in its unit."""
    return [(getattr(b, name) - getattr(a, name)) / (b.done - a.done) for a, b in pairs]


def us_each(pairs: list[tuple[Sample, Sample]], name: str) -> list[float]:
    """``each`` of CPU seconds, in microseconds."""
    return [seconds * 1e6 for seconds in each(pairs, name)]


def _rows(mix: str, pairs: list[tuple[Sample, Sample]], rows: list[Row]) -> Row:
    processor, redis, kafka = (us_each(pairs, name) for name in ("processor_s", "redis_s", "kafka_s"))
    rate = [1e6 / cost for cost in processor]
    rows += [
        Row(
            f"processor process, everything in it: {mix}", rate, "events/s a core", "25,000", "40,000",
            more_is_better=True, note=f"{median(processor):.1f} us an event",
        ),
        Row(f"Redis server, {mix}", redis, "us a transaction", "12", "7"),
        Row(f"Kafka broker, {mix}", kafka, "us a transaction", note="transactions out; features and entities in, entities out"),
    ]  # fmt: skip
    together = [a + b for a, b in zip(processor, redis, strict=True)]
    entries = sum(feature.entity in ("transaction", "card", "merchant") for feature in CATALOGUE)
    note = f"{entries} entries an event, profiles warm"
    return Row(f"ours: processor and Redis, {mix}, all their entries", together, "us an event", note=note)


def memory_rows(parts: Parts, names: Mapping[str, Sequence[str]], note: str) -> Iterator[Row]:
    """For a sample of each kind of entity: memory of its key as Redis reports it, and bytes of its profiles.

    ``names``: identifiers by kind; ``note``: their history.
    """
    for entity, own in names.items():
        sample = own[:: max(1, len(own) // SAMPLED_KEYS)]
        keys = keys_of(entity, sample, parts.settings.partitions)
        known = [size for own in keys if (size := sum(parts.store.memory_usage(each) or 0 for each in own))]
        what = f"memory per million: {entity}, all entries, in Redis"
        yield (
            Row(what, [sum(known) / len(known)], "MB", note=note)
            if known
            else left_out(what, "none is stored")
        )
        yield from byte_rows(entity, stored_bytes(parts.store, keys))


def keys_of(entity: str, names: Sequence[str], partitions: int) -> list[list[bytes]]:
    """The keys of all views of each entity."""
    views = [view for view in VIEWS if view.entity == entity]
    return [[key(view, name, partitions) for view in views] for name in names]


def stored_bytes(store: Any, keys: Sequence[list[bytes]]) -> list[int]:
    """For each stored entity the bytes of its profiles in all its views."""
    sizes = (sum(len(value or b"") for value in store.mget(own)) for own in keys)
    return [size for size in sizes if size]


def byte_rows(entity: str, sizes: Sequence[int]) -> list[Row]:
    """Rows of the distribution of ``stored_bytes``."""
    if not sizes:
        return [left_out(f"stored bytes of an entity: {entity}", "none is stored")]
    note = f"profiles of all its views, of {len(sizes)}"
    middle, high = np.percentile(sizes, [50, 99])
    return [
        Row(f"stored bytes of an entity: {entity}, {what}", [float(value)], "bytes", "2,048", note=note)
        for what, value in (("p50", middle), ("p99", high), ("largest", max(sizes)))
    ]
