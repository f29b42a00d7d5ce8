"""``tollgate features rebuild``: rebuild the state from the log, while decisions go on without state, as degraded.

A marker in the store tells the processor and the HTTP edge that there is no state, and new lease epochs stop older writers.
Each partition is read by its own process, which writes its profiles. Positions are written last, together with the end of the
marker, in one transaction.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from features.profile.records import STATE_VERSION
from features.store.keys import GROUP, applied_key, profile_version
from features.store.partition_lease import REBUILDING_KEY, Leases
from features.store.redis_client import Command, RespClient, accepted
from features.store.state_versions import forgotten, others, removed, took_over, unfinished_key
from streams.log.topics import ENTITIES, TRANSACTIONS
from streams.processor.identities.blocks import forget_blocks
from streams.processor.state_loss import committed
from streams.runtime.kafka.log_reader import whole_log
from streams.runtime.secured import REBUILD
from streams.runtime.settings import Settings, acting_as, load_settings
from streams.state.rebuild import ROUND, Done, EntityBuilder, Written, new_builder
from streams.state.rebuild_work import Say, Total, by_partition, feed, warn_truncated

AGAIN = "run the rebuild again"


@dataclass(frozen=True)
class Rebuilt:
    """Counts of what a rebuild read and wrote."""

    transactions: int
    items: int
    entities: int
    seconds: float


def rebuild(settings: Settings, say: Say, *, clear: bool = False) -> Rebuilt:
    """Rebuild the processor's state.

    Args:
        clear: first delete every stored profile, also of entities that are no longer in the log (needed if stored
            profiles cannot be read any more).

    Raises:
        StoreUnavailable: Redis is away; run it again. LedgerUnreachable: the broker is away. TimeoutError: a worker hangs.
    """
    started = time.monotonic()
    settings = acting_as(settings, REBUILD)
    client = RespClient(settings.redis_address)
    leases = Leases(client, GROUP)
    told = {
        "why": "a rebuild is running, or was interrupted",
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    client.with_retry([("SET", REBUILDING_KEY, json.dumps(told))])
    first, end = whole_log(settings.kafka, [TRANSACTIONS.name, ENTITIES.name])
    places = [(topic, partition) for topic, partitions in end.items() for partition in partitions]
    # from here on no earlier writer can write: their epochs are old
    leases.lease(places)
    if clear:
        # for every version, so that none looks as if its state were still there
        for version in others(client):
            client.with_retry(forgotten(client, version, places))
        gone = removed(client, lambda key: profile_version(key) is not None, lambda looked, gone: None)
        say(f"deleted {gone:,} stored profiles")
    # every transaction before this position has its features; the processor continues here
    handled = committed(settings, [place for place in places if place[0] == TRANSACTIONS.name])
    ends = {
        place: min(handled[place], end[place[0]][place[1]]) if place in handled else end[place[0]][place[1]]
        for place in places
    }
    warn_truncated(first, say)
    spans = [(topic, p, first[topic][p], end_) for (topic, p), end_ in ends.items()]
    done = by_partition(rebuild_partition, settings.home, spans, say, processes=os.cpu_count() or 1)
    total = Total(done)
    block: list[Command] = [("MULTI",), *(("DEL", applied_key(p)) for p in end[ENTITIES.name])]
    block += [command for part in done for command in part.applied]
    block += [*leases.place(ends), *took_over(STATE_VERSION)]
    block += [("DEL", unfinished_key(STATE_VERSION)), ("DEL", REBUILDING_KEY), ("EXEC",)]
    # if Redis refuses, nothing of the block is applied: decisions stay without state and say so
    accepted(client.with_retry(block), AGAIN)
    client.close()
    return Rebuilt(total.transactions, total.items, total.entities, time.monotonic() - started)


def rebuild_partition(home: str, topic: str, partition: int, start: int, stop: int) -> Done:
    """Read one partition and write its profiles; its applied offsets are returned, to be written with the positions. Runs in
    its own process.
    """
    settings = acting_as(load_settings(Path(home)), REBUILD)
    client = RespClient(settings.redis_address)
    builder = new_builder(settings, client, topic, partition, start)
    count = feed(settings, builder, topic, partition, start, stop)
    written = _write(settings, builder.writes())
    if isinstance(builder, EntityBuilder):
        more, applied = builder.said(), builder.applied_writes()
    else:
        more, applied = [*forget_blocks(client, partition), *builder.identities()], []
    for begin in range(0, len(more), ROUND):
        accepted(client.with_retry(more[begin : begin + ROUND]), AGAIN)
    client.close()
    return Done(topic, partition, count, written, applied)


def _write(settings: Settings, rounds: Iterator[Written]) -> int:
    client = RespClient(settings.redis_address)
    written = 0
    for command, profiles in rounds:
        accepted(client.with_retry([command]), AGAIN)
        written += profiles
    client.close()
    return written
