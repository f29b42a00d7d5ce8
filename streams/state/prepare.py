"""``tollgate features prepare``: build another version of the state from the log while the current version keeps serving.

Unlike a rebuild, nothing is stopped or degraded. The current version's positions are read and followed until few records
remain; the processor applies those when it takes over (``streams.processor.takeover``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from features.profile.records import STATE_VERSION
from features.store.keys import GROUP, applied_key
from features.store.partition_lease import Leases, Shared, TopicPartition
from features.store.redis_client import Command, RespClient
from features.store.state_versions import (
    begin,
    furthest_elsewhere,
    serving,
    unfinished,
    unfinished_key,
)
from streams.processor.state_loss import READ_AGAIN_AT_MOST
from streams.processor.takeover import places_of
from streams.runtime.kafka.log_reader import whole_log
from streams.runtime.secured import REBUILD
from streams.runtime.settings import Settings, acting_as, load_settings
from streams.state.rebuild import ROUND, Done, EntityBuilder, new_builder
from streams.state.rebuild_work import Say, Total, by_partition, feed, warn_truncated

#: a partition with fewer records left is handed to the processor, which applies about this many a second
CLOSE_RECORDS = 10_000
#: each round has fewer records; if not, the machine is too slow to catch up
MAX_ROUNDS = 10
#: lower priority than the processes that decide
NICENESS = 10


@dataclass(frozen=True)
class Prepared:
    """The result. ``nothing_to_do``: why nothing was prepared. ``behind``: records that the current version was ahead at the end."""

    version: int
    nothing_to_do: str | None = None
    transactions: int = 0
    items: int = 0
    entities: int = 0
    behind: int = 0
    seconds: float = 0.0


def prepare(settings: Settings, say: Say) -> Prepared:
    """Build the state version of this code, up to the positions of the current version.

    Raises:
        StoreUnavailable, LedgerUnreachable, TimeoutError: run it again. LeaseLost: another run prepares the same version.
    """
    started = time.monotonic()
    settings = acting_as(settings, REBUILD)
    client = RespClient(settings.redis_address)
    places = places_of(settings)
    produced = furthest_elsewhere(client, places)
    why_not = nothing_to_prepare(client, produced)
    if why_not is not None:
        return Prepared(STATE_VERSION, why_not)
    client.with_retry(begin(STATE_VERSION, "it is being prepared, or a preparation was interrupted"))
    # leases of this version only: they stop a second run, and keep a processor off the unfinished state
    leases = Leases(client, GROUP)
    leases.lease(places)
    first, _ = whole_log(settings.kafka, sorted({topic for topic, _ in places}))
    warn_truncated(first, say)
    spans = [(topic, p, first[topic].get(p, 0), produced.get((topic, p), 0)) for topic, p in places]
    half = max(1, (os.cpu_count() or 1) // 2)
    done = by_partition(
        prepare_partition, settings.home, spans, say, leases.share(), processes=half, niceness=NICENESS
    )
    _complete(leases, places, done)
    now = furthest_elsewhere(client, places)
    client.close()
    total = Total(done)
    behind = sum(max(0, now.get((part.topic, part.partition), 0) - part.position) for part in done)
    seconds = time.monotonic() - started
    return Prepared(STATE_VERSION, None, total.transactions, total.items, total.entities, behind, seconds)


def nothing_to_prepare(client: RespClient, produced: Mapping[TopicPartition, int]) -> str | None:
    """Why there is nothing to prepare; None if there is something."""
    if serving(client) == STATE_VERSION and unfinished(client, STATE_VERSION) is None:
        return f"the state in use is already version {STATE_VERSION}, which this code reads"
    if not produced:
        return "there is no state of any other version"
    stored = Leases(client, GROUP).stored(list(produced))
    if unfinished(client, STATE_VERSION) is not None or None in stored.values():
        return None
    behind = sum(max(0, end - (stored[place] or 0)) for place, end in produced.items())
    if behind > READ_AGAIN_AT_MOST:
        return None
    return f"version {STATE_VERSION} exists and is {behind:,} records behind; the processor applies them when it starts"


def prepare_partition(home: str, topic: str, partition: int, start: int, stop: int, shared: Shared) -> Done:
    """Apply one partition and write its profiles, repeat until few new records are left. Runs in its own process.

    Raises:
        LeaseLost: another run prepares the same version, or a processor has taken it over.
    """
    settings = acting_as(load_settings(Path(home)), REBUILD)
    client = RespClient(settings.redis_address)
    place = (topic, partition)
    leases = Leases.shared(client, shared)
    builder = new_builder(settings, client, topic, partition, start)
    count = written = 0
    for _ in range(MAX_ROUNDS):
        count += feed(settings, builder, topic, partition, start, stop)
        for command, profiles in builder.writes():
            leases.write([place], {}, [command], {})
            written += profiles
        start, stop = stop, max(stop, furthest_elsewhere(client, [place]).get(place, 0))
        if stop - start <= CLOSE_RECORDS:
            break
    applied: list[Command] = []
    if isinstance(builder, EntityBuilder):
        said = builder.said()
        for begun in range(0, len(said), ROUND):
            leases.write([place], {}, said[begun : begun + ROUND], {})
        applied = builder.applied_writes()
    client.close()
    return Done(topic, partition, count, written, applied, start)


def _complete(leases: Leases, places: list[TopicPartition], done: list[Done]) -> None:
    """Write positions, applied offsets and the end of the preparation in one transaction."""
    writes: list[Command] = [("DEL", applied_key(partition)) for partition in sorted({p for _, p in places})]
    writes += [command for part in done for command in part.applied]
    writes.append(("DEL", unfinished_key(STATE_VERSION)))
    leases.write(places, {}, writes, {(part.topic, part.partition): part.position for part in done})
