"""The card stage: a chunk of `transactions` becomes features, entity items and the cards' new state, once.

Order: read what is not in memory; compute; produce; then, as the chunk's commit, wait for the acknowledgement and write state
and position in one EXEC. A crash anywhere repeats at most records that carry their source offset and are dropped
downstream (decision 1).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from confluent_kafka import Producer

from features.catalogue import WIDTH
from features.engine import Places, computed_beside, entities_as_of, frauds_as_of
from features.kernels.columns import Payments, columns_of, text_hash
from features.kernels.payer import NEW, transaction_features
from features.kernels.shared_entity import SHARED_ENTITIES
from features.store.partition_lease import REBUILDING_KEY, Leases
from features.store.partitions import entity_partition
from features.store.profile_cache import ProfileCache
from features.store.redis_client import Command, RespClient
from features.store.views import CARD_STATE
from features.transaction import Transaction
from streams.log.feature_batch import encode_batch
from streams.log.forwarding import forward
from streams.log.missing_inputs import present
from streams.log.records import (
    PAID_ENTITIES,
    EntityItems,
    PaidColumns,
    encode_items,
)
from streams.log.topics import ENTITIES, FEATURES
from streams.log.topics import TRANSACTIONS as TRANSACTIONS_TOPIC
from streams.processor.commit import ACKNOWLEDGE_WITHIN_S, ChunkCommit, Committer
from streams.processor.feature_rows import LATE_BOUND_MS, Made, Read, feature_batches
from streams.processor.intake import Accepted, Intake, sort_out
from streams.processor.payment_updates import pack_paid
from streams.processor.suspected_duplicates import SuspectedDuplicates
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.dead_letters import dead_letter, send_dead_letter
from streams.runtime.kafka.clients import flush
from streams.runtime.metrics import (
    DUPLICATES,
    FEATURE_STALENESS,
    LATE_EVENTS,
    STAGE_SECONDS,
    TOO_LATE_EVENTS,
    TRANSACTIONS,
    UNKNOWN_FIELDS,
)
from streams.runtime.settings import Settings


class RebuildEnded(Exception):
    """A session that went on without state ends, because the state is there again."""


class CardStage:
    """Handles chunks of `transactions` for the partitions that ``leases`` holds; ``cache`` is shared with the entity stage."""

    def __init__(
        self,
        settings: Settings,
        client: RespClient,
        producer: Producer,
        leases: Leases,
        cache: ProfileCache,
        committer: Committer,
    ) -> None:
        """``client`` is for reading: what is written goes through ``committer``."""
        self._settings = settings
        self._client = client
        self._producer = producer
        self._leases = leases
        self._cache = cache
        self._committer = committer
        self._suspected_duplicates = SuspectedDuplicates(client)
        self.rebuilding = False
        #: only the state is written: what the chunks mean for others is on the log already
        self.silent = False

    def handle(self, chunk: Chunk) -> Future[None] | None:
        """Do one chunk, up to its commit; or raise and leave it for the next worker."""
        started = time.monotonic()
        if self.rebuilding:
            self._without_state(chunk)
            return None
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        intake = sort_out(chunk.records, self._settings.partitions, self._settings.deadline_ms)
        accepted = intake.accepted
        transactions = [a.transaction for a in accepted]
        cache = self._cache
        if cache.begin_batch():
            # what is read again must be what was written last
            self._committer.settled()
        places = cache.places(transactions)
        read_missing(self._client, self._leases, partitions, cache)
        profiles = cache.profiles()
        columns = columns_of(transactions, [a.event_ms for a in accepted], [a.offset for a in accepted])
        before_ms = profiles.cards["last_ms"][places.cards]
        rows, seen = computed_beside(columns, places, profiles)
        late_ms = _late(places.cards.tolist(), columns["event_ms"].tolist(), before_ms.tolist())
        read = Read(entities_as_of(places, profiles), frauds_as_of(places, profiles), [0] * len(accepted))
        writes = cache.write(CARD_STATE, np.unique(places.cards[seen == NEW]))
        commit = commit_of(chunk, [writes], "processor", started)
        if self.silent:
            return self._committer.end(commit)
        repeated = self._suspected_duplicates.repeated(accepted, seen)
        self._committer.acknowledged()
        self._produce(intake, columns, rows, seen, repeated, late_ms, read, _homes(cache, places))
        done = self._committer.end(commit)
        _count(intake, repeated, late_ms)
        if accepted:
            say_staleness("card", int(columns["event_ms"].max()))
        return done

    def _without_state(self, chunk: Chunk) -> None:
        """Features of the transactions alone, marked as such; the state is not touched: another makes it again from the log.

        Raises:
            RebuildEnded: the state is there again; a new session starts from its positions.
        """
        if self._client.with_retry([("GET", REBUILDING_KEY)])[0] is None:
            raise RebuildEnded("the state is rebuilt: features are complete again from here on")
        intake = sort_out(chunk.records, self._settings.partitions, self._settings.deadline_ms)
        accepted = intake.accepted
        transactions = [a.transaction for a in accepted]
        columns = columns_of(transactions, [a.event_ms for a in accepted], [a.offset for a in accepted])
        n = len(accepted)
        rows, seen = np.full((n, WIDTH), np.nan, dtype=np.float32), np.zeros(n, dtype=np.uint8)
        transaction_features(columns, seen, rows)
        nothing = Read(np.full((n, 4), -1), np.full(n, -1), [present(tx) for tx in transactions])
        homes = [_named_homes(tx, self._settings.partitions) for tx in transactions]
        none = seen != NEW
        self._produce(intake, columns, rows, seen, none, [0] * n, nothing, np.array(homes).reshape(n, 4))
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)
        _count(intake, none, [0] * n)

    def _produce(
        self,
        intake: Intake,
        columns: Payments,
        rows: Any,
        seen: Any,
        repeated: Any,
        late_ms: list[int],
        read: Read,
        homes: Any,
    ) -> None:
        """Features of what is not ``repeated``; items of what the cards' state took (``seen`` NEW), as that is (n,)."""
        now_ms = int(time.time() * 1000)
        for record, error in intake.refused:
            send_dead_letter(self._producer, dead_letter(record, error, now_ms))
        for misplaced in intake.misplaced:
            forward(
                self._producer, TRANSACTIONS_TOPIC, misplaced.record, misplaced.card_id, misplaced.partition
            )
        produce = self._producer.produce
        for batch in feature_batches(Made(intake.accepted, rows, read, late_ms), ~repeated):
            for value in encode_batch(batch):
                produce(FEATURES.name, partition=batch.partition, value=value)
        for (source, target), paid in _paid(intake.accepted, columns, seen, homes).items():
            value = encode_items(EntityItems(TRANSACTIONS_TOPIC.name, source, [], paid))
            produce(ENTITIES.name, key=f"{TRANSACTIONS_TOPIC.name}:{source}", partition=target, value=value)


def read_missing(
    client: RespClient, leases: Leases, partitions: list[tuple[str, int]], cache: ProfileCache
) -> None:
    """Read what a batch needs and ``cache`` has not, from a store that is not behind what this worker wrote.

    Raises:
        LeaseLost, StateRegressed: the state is not this worker's to go on from. StoreRefused, StoreUnavailable, ProfileError.
    """
    reads = cache.reads()
    if reads:
        known = leases.positions(partitions)
        replies = client.with_retry([*leases.look(partitions), *reads])
        leases.check_look(partitions, replies[0], known)
        cache.load(replies[1:])


def commit_of(chunk: Chunk, writes: Sequence[Command], stage: str, started: float) -> ChunkCommit:
    """How a chunk ends; ``started``: when its stage began with it, by the monotonic clock."""
    return ChunkCommit(
        [(tp.topic, tp.partition) for tp in chunk.positions],
        {(tp.topic, tp.partition): offset for tp, offset in chunk.starts.items()},
        {(tp.topic, tp.partition): offset for tp, offset in chunk.positions.items()},
        writes,
        lambda: STAGE_SECONDS.labels(stage).observe(time.monotonic() - started),
    )


def _late(slots: list[int], event_ms: list[int], before_ms: list[int]) -> list[int]:
    """How far each payment comes behind its card's newest, milliseconds; ``before_ms``: that of its card before the batch."""
    newest: dict[int, int] = {}
    out = []
    for slot, moment, before in zip(slots, event_ms, before_ms, strict=True):
        known = newest.get(slot, before)
        out.append(max(0, known - moment))
        newest[slot] = max(known, moment)
    return out


def _paid(
    accepted: list[Accepted], columns: Payments, seen: Any, homes: Any
) -> dict[tuple[int, int], PaidColumns]:
    """What the transactions mean for merchants, devices, ips and customers, by source and partition of `entities`."""
    transactions = [event.transaction for event in accepted]
    cards = np.array([text_hash(tx.card_id) for tx in transactions], dtype=np.uint32)
    ids = (
        [tx.merchant_id for tx in transactions], [tx.device_id for tx in transactions],
        [tx.ip for tx in transactions], [tx.customer_id for tx in transactions],
    )  # fmt: skip
    sources = np.array([event.partition for event in accepted], dtype=np.int64)
    return pack_paid(columns, cards, ids, homes, sources, seen == NEW)


def _homes(cache: ProfileCache, places: Places) -> Any:
    """The partition of `entities` of each row's merchant, device, ip and customer, (n, 4), -1 where there is none."""
    shared_entities = [
        cache.homes(entity, places.shared_entities[:, k] // 3) for k, entity in enumerate(SHARED_ENTITIES)
    ]
    return np.column_stack([*shared_entities, cache.homes("customer", places.customers)])


def _named_homes(tx: Transaction, partitions: int) -> list[int]:
    named = zip(PAID_ENTITIES, (tx.merchant_id, tx.device_id, tx.ip, tx.customer_id), strict=True)
    return [entity_partition(entity, name, partitions) if name else -1 for entity, name in named]


def say_staleness(entity: str, newest_ms: int) -> None:
    """``newest_ms``: of the payments that were just applied to entities of a kind."""
    FEATURE_STALENESS.labels(entity).set(max(0.0, time.time() - newest_ms / 1000))


def _count(intake: Intake, repeated: Any, late_ms: list[int]) -> None:
    tenants: dict[str, int] = {}
    for i, event in enumerate(intake.accepted):
        if not repeated[i]:
            tenants[event.transaction.tenant] = tenants.get(event.transaction.tenant, 0) + 1
    for tenant, count in tenants.items():
        TRANSACTIONS.labels(tenant).inc(count)
    dropped = int(np.count_nonzero(repeated))
    if dropped:
        DUPLICATES.labels("processor").inc(dropped)
    if intake.unknown_fields:
        UNKNOWN_FIELDS.inc(intake.unknown_fields)
    late = [behind for behind, repeat in zip(late_ms, repeated, strict=True) if behind and not repeat]
    if late:
        LATE_EVENTS.inc(len(late))
        TOO_LATE_EVENTS.inc(sum(behind > LATE_BOUND_MS for behind in late))
