"""Cost of a hot key: the processor on evenly spread traffic, with one merchant of 30 %, and with a single merchant.

The payments are the same each time; only their merchants, devices and addresses are replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np
import pyarrow as pa

from features.store.redis_client import RespClient
from loadtest.bench.features_parts.backlog import fill_store
from loadtest.bench.features_parts.kafka_and_redis import Parts
from loadtest.bench.features_parts.processor import each, run_backlog, us_each
from loadtest.bench.features_parts.traffic import SEED, SHARED_ENTITY_COLUMNS, Traffic, warm_state
from loadtest.bench.harness.table import Row

HOT_SHARE = 0.3
EVEN = "evenly spread"
HOT = f"one merchant has {HOT_SHARE:.0%}"
WORST = "all at one merchant, device and address"
MIXES = 3
#: profiles fill up meanwhile: the places of each in the order have one mean, and those of the first two one mean of squares
ORDER = (EVEN, HOT, WORST, WORST, HOT, EVEN, HOT, EVEN, WORST, WORST, EVEN, HOT)


def hot_rows(parts: Parts, traffic: Traffic) -> Iterator[Row]:
    """CPU of processor and Redis and bytes sent to Redis per transaction, each with its ratio to even traffic.

    Raises:
        ProcessorStuck: see ``run_backlog``.
    """
    client = RespClient(parts.settings.redis_address)
    fill_store(client, parts.settings.partitions, traffic, warm_state(traffic))
    client.close()
    whole = traffic.measured
    share = whole.num_rows // len(ORDER)
    measured: dict[str, dict[str, list[float]]] = {"processor_s": {}, "redis_s": {}, "redis_in_bytes": {}}
    for run, mix in enumerate(ORDER):
        pairs = run_backlog(parts, payments_at(whole.slice(run * share, share), traffic, mix))
        for name, by_mix in measured.items():
            cost = each if name == "redis_in_bytes" else us_each
            by_mix.setdefault(mix, []).extend(cost(pairs, name))
    for name, what, unit in (
        ("processor_s", "processor process", "us a transaction"),
        ("redis_s", "Redis server", "us a transaction"),
        ("redis_in_bytes", "bytes sent to Redis", "a transaction"),
    ):
        even = median(measured[name][EVEN])
        for mix, runs in measured[name].items():
            yield Row(
                f"{what}, five entities: {mix}",
                runs,
                unit,
                factor=f"{median(runs) / even:.2f} of {even:,.1f}",
            )


def payments_at(table: pa.Table, traffic: Traffic, mix: str) -> pa.Table:
    """The payments with random merchants, devices and addresses, uniformly distributed except for the hot ones."""
    chance = np.random.default_rng(SEED)
    n = table.num_rows
    for name, names in zip(SHARED_ENTITY_COLUMNS, traffic.shared_entity_names, strict=True):
        who = chance.integers(len(names), size=n)
        if mix == HOT and name == "merchant_id":
            who[chance.random(n) < HOT_SHARE] = 0
        if mix == WORST:
            who[:] = 0
        column = pa.array(names).take(pa.array(who))
        table = table.set_column(table.column_names.index(name), name, column)
    return table
