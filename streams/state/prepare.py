"""``tollgate features prepare``: another version of the state made from the log, beside the one that goes on serving.

As a rebuild, but nobody is stopped and nothing is degraded: the version at work is only asked how far it is, and followed until
little is left. What is left the processor applies itself when it takes over (``streams.processor.takeover``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from features.profile.records import STATE_VERSION
from features.store.partition_lease import Leases, Shared, TopicPartition
from features.store.redis_client import Command, RespClient
from features.store.state_versions import (
    GROUP,
    applied_key,
    begin,
    furthest_elsewhere,
    serving,
    unfinished,
    unfinished_key,
)
from streams.processor.state_loss import READ_AGAIN_AT_MOST
from streams.processor.takeover import places_of
from streams.runtime.kafka.log_reader import whole_log
from streams.runtime.settings import Settings, load_settings
from streams.state.rebuild import ROUND, Done, EntityBuilder, new_builder
from streams.state.rebuild_work import Say, Total, by_partition, feed, warn_truncated

#: a partition that is less behind is left to the processor: it applies as much in a second
CLOSE_RECORDS = 10_000
#: each time round there is less; where there is not, the machine is too slow to ever come close
MAX_ROUNDS = 10
#: behind whatever decides
NICENESS = 10


@dataclass(frozen=True)
class Prepared:
    """What was made, or why nothing was: ``nothing_to_do``. ``behind``: records that the version at work was ahead at the end."""

    version: int
    nothing_to_do: str | None = None
    transactions: int = 0
    items: int = 0
    entities: int = 0
    behind: int = 0
    seconds: float = 0.0


def prepare(settings: Settings, say: Say) -> Prepared:
    """Make the state that this code reads, up to where another version is applied.

    Raises:
        StoreUnavailable, LedgerUnreachable, TimeoutError: run it again. LeaseLost: another one does the same.
    """
    started = time.monotonic()
    client = RespClient(settings.redis_address)
    places = places_of(settings)
    produced = furthest_elsewhere(client, places)
    why_not = nothing_to_prepare(client, produced)
    if why_not is not None:
        return Prepared(STATE_VERSION, why_not)
    client.with_retry(begin(STATE_VERSION, "it is being prepared, or that was broken off"))
    # of this version alone: it keeps two of these apart, and a processor from what is half done
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
    """Why there is nothing to prepare, in words; None when there is."""
    if serving(client) == STATE_VERSION and unfinished(client, STATE_VERSION) is None:
        return f"the state at work is version {STATE_VERSION}, which this code reads"
    if not produced:
        return "there is no state of any other version"
    stored = Leases(client, GROUP).stored(list(produced))
    if unfinished(client, STATE_VERSION) is not None or None in stored.values():
        return None
    behind = sum(max(0, end - (stored[place] or 0)) for place, end in produced.items())
    if behind > READ_AGAIN_AT_MOST:
        return None
    return f"version {STATE_VERSION} is there, {behind:,} records behind, which the processor applies when it starts"


def prepare_partition(home: str, topic: str, partition: int, start: int, stop: int, shared: Shared) -> Done:
    """Read one partition, write its profiles, and again what came meanwhile until little is left. Runs in a process.

    Raises:
        LeaseLost: another one prepares the same version, or a processor has taken it.
    """
    settings = load_settings(Path(home))
    client = RespClient(settings.redis_address)
    place = (topic, partition)
    leases = Leases.shared(client, shared)
    builder = new_builder(topic, partition, settings.partitions)
    count = written = 0
    for _ in range(MAX_ROUNDS):
        count += feed(settings, builder, topic, partition, start, stop)
        for packed in builder.writes(settings.written_layout):
            leases.write([place], {}, [packed], {})
            # an EXPIRE follows each HSET
            written += packed.commands // 2
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
    """Positions, how far items are applied, and that it is whole: all at once, or nothing."""
    writes: list[Command] = [("DEL", applied_key(partition)) for partition in sorted({p for _, p in places})]
    writes += [command for part in done for command in part.applied]
    writes.append(("DEL", unfinished_key(STATE_VERSION)))
    leases.write(places, {}, writes, {(part.topic, part.partition): part.position for part in done})
