"""The processor: one Faust worker that reads `transactions` and `entities`. Wired here and nowhere else."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from prometheus_client import start_http_server

from features.store.keys import GROUP as STATE_GROUP
from features.store.partition_lease import Leases
from features.store.partitions import partitions_of
from features.store.profiles.cache import ProfileCache
from features.store.redis_client import RespClient
from features.store.sweep import Sweep
from features.store.warm import warm_kernels
from streams.log.offsets.log_marks import LogMarks, eras
from streams.log.offsets.source_ends import SourceEnds
from streams.log.offsets.watch_logs import watch_logs
from streams.log.other_catalogues import announcement
from streams.log.records import HEADER_DECIDED
from streams.log.topics import ENTITIES, TRANSACTIONS
from streams.processor.cards import CardStage
from streams.processor.commit import CommitFailed, PipelinedCommitter, WaitsForRoom
from streams.processor.entities import EntityStage
from streams.processor.identities.known_transactions import KnownTransactions
from streams.processor.identities.table import IdentityTable, warm_identities
from streams.processor.payment_updates import warm_packing
from streams.processor.state_loss import GROUP, decided_without_state, find_lost, no_room
from streams.processor.store_memory import StoreMemory
from streams.processor.takeover import NotPrepared, Takeover
from streams.runtime.chunk.app import run_chunk_app
from streams.runtime.chunk.chunk import Chunk, Positions
from streams.runtime.chunk.consumer import EXIT_HANDLER_FAILED
from streams.runtime.chunk.pacing import Pacing
from streams.runtime.edge_keys import EdgeKeys
from streams.runtime.kafka.clients import AT_FLUSH, new_producer
from streams.runtime.metrics import STATE_REBUILDING, STORE_FULL
from streams.runtime.process import Process, start_process

logger = logging.getLogger(__name__)

#: exit code: the state that this code needs does not exist; a person must decide what to do
EXIT_NOT_PREPARED = 78


def latency_sensitive(record: Any) -> bool:
    """Whether somebody waits for the decision; False if the HTTP edge has already decided."""
    return not any(name == HEADER_DECIDED for name, _ in record.headers)


#: at most one chunk of `transactions` per 5 ms; `entities` are applied twenty times a second
PACING = Pacing(
    chunk_interval_s=0.005,
    longest_interval_s=0.030,
    at_broker=True,
    slow_topics={ENTITIES.name: 0.05},
    latency_sensitive=latency_sensitive,
)


def run(process: Process) -> None:
    """Run until asked to stop."""
    settings = process.settings
    client = RespClient(settings.redis_address)
    # a separate connection: a chunk is written while the next one reads
    leases = Leases(RespClient(settings.redis_address), STATE_GROUP)
    producer = new_producer(settings.kafka, process.name, **AT_FLUSH)
    sweep = Sweep(RespClient(settings.redis_address))
    cache = ProfileCache(settings.partitions, settings.profile_cache_mb << 20)
    committer = PipelinedCommitter(producer, leases)
    memory = StoreMemory(RespClient(settings.redis_address))
    keys = EdgeKeys(settings.edge_keys_path)
    # a connection and a reader of its own: it also looks while chunks are handled
    marks = LogMarks(settings.kafka, RespClient(settings.redis_address), STATE_GROUP)
    known = KnownTransactions(client, settings.partitions, table=partial(IdentityTable, resident=True))
    cards = CardStage(settings, client, producer, leases, cache, committer, keys, marks, known)
    entities = EntityStage(client, producer, leases, cache, committer, SourceEnds(settings.kafka), marks)
    stages = {TRANSACTIONS.name: cards.handle, ENTITIES.name: entities.handle}
    takeover = Takeover(settings, client, leases, cards, entities, committer)

    def handle(chunk: Chunk) -> Future[None] | None:
        return stages[chunk.topic](chunk)

    def tick() -> None:
        # a chunk in progress makes this check itself
        if committer.idle:
            leases.verify()
        sweep.step()
        memory.look(time.monotonic())

    def settle() -> None:
        try:
            committer.settled()
        except WaitsForRoom as error:
            # for the consumer: the chunks before an assignment are not finished
            raise TimeoutError(str(error)) from error

    def stop() -> None:
        # commit everything, so that a planned restart repeats nothing; failures are reported elsewhere
        with contextlib.suppress(CommitFailed):
            committer.settled()

    def start(assigned: list[tuple[str, int]]) -> Positions:
        try:
            return take(assigned)
        except Exception:  # the process edge: Faust would continue and never fetch
            logger.exception("partitions could not be leased")
            os._exit(EXIT_HANDLER_FAILED)

    def take(assigned: list[tuple[str, int]]) -> Positions:
        # before the first vector, and again after Redis lost its data
        client.with_retry([announcement()])
        lost, full = find_lost(settings, client, leases, assigned), no_room(client)
        cards.rebuilding = entities.rebuilding = bool(lost or full)
        STATE_REBUILDING.set(lost is not None)
        STORE_FULL.set(full is not None)
        if lost or full:
            logger.error("decisions continue without state, as degraded: %s", lost or full)
            cards.known.begin_without_state()
            # start at the group's committed offsets: earlier records have their features already
            return {}
        produced = takeover.shut_out(assigned)
        before = leases.lease(assigned)
        begun_again = marks.begin(before)
        owned = [partition for topic, partition in assigned if topic == ENTITIES.name]
        entities.load_applied(owned)
        cache.begin_session(owned)
        cards.known.load(_of_transactions(leases.positions(assigned)))
        if begun_again:
            again = [
                p
                for (topic, p), found in begun_again.items()
                if found.made_again and topic == TRANSACTIONS.name
            ]
            writes = [*marks.writes_of(begun_again, before), *cards.known.log_lost(again)]
            leases.write(
                list(begun_again), {}, writes, {place: found.start for place, found in begun_again.items()}
            )
        cards.eras = _of_transactions(eras(client, assigned))
        ahead = decided_without_state(settings, leases, assigned, produced)
        read_again = {*begun_again, *marks.rewound(leases.positions(assigned))}
        takeover.catch_up({place: end for place, end in ahead.items() if place not in read_again})
        return leases.positions(assigned)

    takeover.check()
    partitions_of(["warm"], settings.partitions)
    warm_packing()
    warm_identities()
    logger.info("feature kernels ready in %.1f s", warm_kernels())
    threading.Thread(target=watch_logs, args=(marks,), name="log-marks", daemon=True).start()
    # `tollgate up` takes a processor for ready when it listens
    start_http_server(settings.metrics_port(process.name), addr="127.0.0.1")
    run_chunk_app(
        process,
        GROUP,
        [TRANSACTIONS, ENTITIES],
        handle,
        start,
        tick=tick,
        settle=settle,
        on_stop=stop,
        pacing=PACING,
    )


def _of_transactions(by_place: Mapping[tuple[str, int], int]) -> dict[int, int]:
    return {partition: value for (topic, partition), value in by_place.items() if topic == TRANSACTIONS.name}


def main() -> int:
    """Run one worker; returns the exit code."""
    try:
        run(start_process("processor-0", signals=False, metrics=False))
    except NotPrepared as error:
        logger.error("%s", error)
        return EXIT_NOT_PREPARED
    return 0


if __name__ == "__main__":
    sys.exit(main())
