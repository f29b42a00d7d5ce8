"""The card stage: a chunk of `transactions` becomes features, entity items and the cards' new state, once.

Order: read what is not in memory; compute; produce; then, as the chunk's commit, wait for the acknowledgement and write state
and position in one EXEC. A crash anywhere repeats at most records that carry their source offset and are dropped
downstream (decision 1).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Producer

from features.catalogue import WIDTH
from features.engine import Places, computed_beside, entities_as_of, frauds_as_of
from features.kernels.columns import Payments
from features.kernels.payer import DUPLICATE, FIRST_TIME, NEW, POSSIBLE, transaction_features
from features.kernels.shared_entity import SHARED_ENTITIES
from features.store.partition_lease import REBUILDING_KEY, Leases
from features.store.partitions import entity_partitions
from features.store.profiles.cache import EntityIds, ProfileCache
from features.store.redis_client import ASK_ROOM, Command, RespClient, has_room
from features.store.views import CARD_STATE
from streams.log.feature_batch import FeatureBatch, encode_batch
from streams.log.forwarding import forward
from streams.log.missing_inputs import present
from streams.log.offsets.log_marks import LogMarks, source_name
from streams.log.records import (
    MAX_ITEMS_BYTES,
    PAID_ENTITIES,
    EntityItems,
    PaidColumns,
    encode_items,
)
from streams.log.seal import Keys
from streams.log.topics import ENTITIES, FEATURES
from streams.log.topics import TRANSACTIONS as TRANSACTIONS_TOPIC
from streams.processor.commit import ACKNOWLEDGE_WITHIN_S, ChunkCommit, Committer
from streams.processor.feature_rows import LATE_BOUND_MS, Made, Read, feature_batches
from streams.processor.identities.chunk_ids import WhoPaid, payments_in, who_paid
from streams.processor.identities.known_transactions import Judged, KnownTransactions
from streams.processor.identities.table import ANEW, FIRST, REPEATED, Verdicts
from streams.processor.intake import Accepted, Intake, sort_out
from streams.processor.payment_updates import pack_paid, split_paid
from streams.processor.record_headers import NotBelieved
from streams.runtime.blame import SessionEnded
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.dead_letters import dead_letter, send_dead_letter
from streams.runtime.kafka.clients import flush
from streams.runtime.log_throttle import THROTTLED
from streams.runtime.metrics import (
    DECIDED_SUSPECTED_DUPLICATES,
    DUPLICATES,
    FEATURE_STALENESS,
    FORGERIES,
    HEADERS_IGNORED,
    LATE_EVENTS,
    STAGE_SECONDS,
    TOO_LATE_EVENTS,
    TRANSACTIONS,
    UNDECLARED_ATTRIBUTES,
    UNKNOWN_FIELDS,
)
from streams.runtime.settings import Settings

forgeries = logging.getLogger(f"{THROTTLED}.forgeries")


class StateIsBack(SessionEnded):
    """A session that went on without state ends: the state is rebuilt, or Redis has room again."""


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
        keys: Keys,
        marks: LogMarks,
        known: KnownTransactions | None = None,
    ) -> None:
        """``client`` is for reading: what is written goes through ``committer``. ``keys``: of the seals that are believed."""
        self._settings = settings
        self._client = client
        self._producer = producer
        self._leases = leases
        self._cache = cache
        self._committer = committer
        self._keys = keys
        self._tenants = settings.known_tenants
        self._marks = marks
        #: of the partitions of `transactions`, how often their log began again; 0 where it never did
        self.eras: Mapping[int, int] = {}
        self.known = known or KnownTransactions(client, settings.partitions)
        #: the state is lost or being rebuilt, or Redis has no room for it: decisions go on without it
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
        intake = self._sort_out(chunk)
        accepted = intake.accepted
        who = who_paid(accepted.columns)
        cache = self._cache
        if cache.begin_batch():
            # what is read again must be what was written last
            self._committer.settled()
        places = cache.places(who.entities)
        read_missing(self._client, self._leases, partitions, cache)
        profiles = cache.profiles()
        columns = payments_in(accepted, who)
        before_ms = profiles.cards["last_ms"][places.cards]
        judged = self.known.judge(accepted, who, columns, silent=self.silent)
        decided = (judged.verdicts == FIRST) | (judged.verdicts == ANEW)
        rows, seen = computed_beside(columns, places, profiles, _on_entry(judged.verdicts))
        late_ms = _late(places.cards.tolist(), columns["event_ms"].tolist(), before_ms.tolist())
        read = Read(entities_as_of(places, profiles), frauds_as_of(places, profiles), [0] * len(accepted))
        writes = cache.write(CARD_STATE, np.unique(places.cards[seen == NEW]))
        commit = commit_of(
            chunk,
            [writes, *judged.writes, *self._marks.writes(chunk.topic, chunk.records)],
            "processor",
            started,
        )
        if self.silent:
            return self._committer.end(commit)
        _refuse(chunk, intake, judged)
        self._committer.acknowledged()
        made = Made(accepted, rows, read, late_ms)
        paid = _paid(accepted, who, columns, seen, _homes(cache, places))
        self._produce(intake, feature_batches(made, decided), paid)
        done = self._committer.end(commit)
        _count(intake, judged.verdicts, late_ms)
        DECIDED_SUSPECTED_DUPLICATES.inc(int(np.count_nonzero(decided & (seen == POSSIBLE))))
        if len(accepted):
            say_staleness("card", int(columns["event_ms"].max()))
        return done

    def _without_state(self, chunk: Chunk) -> None:
        """Features of the transactions alone, marked as such; the state is not touched: another makes it again from the log.

        Raises:
            StateIsBack: a new session starts from the positions of the state.
        """
        if self._client.with_retry([("GET", REBUILDING_KEY)])[0] is None and has_room(
            self._client.with_retry([ASK_ROOM])[0]
        ):
            raise StateIsBack(
                "the state is there, and Redis takes writes: features are complete again from here on"
            )
        intake = self._sort_out(chunk)
        accepted = intake.accepted
        who, n = who_paid(accepted.columns), len(accepted)
        columns = payments_in(accepted, who)
        judged = self.known.judge(accepted, who, columns)
        _refuse(chunk, intake, judged)
        rows, seen = np.full((n, WIDTH), np.nan, dtype=np.float32), np.zeros(n, dtype=np.uint8)
        seen[(judged.verdicts != FIRST) & (judged.verdicts != ANEW)] = DUPLICATE
        transaction_features(columns, seen, rows)
        nothing = Read(np.full((n, 4), -1), np.full(n, -1), [present(tx) for tx in accepted.transactions])
        homes = _named_homes(who.entities, self._settings.partitions)
        batches = feature_batches(Made(accepted, rows, nothing, [0] * n), seen == NEW)
        self._produce(intake, batches, _paid(accepted, who, columns, seen, homes))
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)
        _count(intake, judged.verdicts, [0] * n)

    def _sort_out(self, chunk: Chunk) -> Intake:
        settings = self._settings
        return sort_out(chunk.records, settings.partitions, settings.deadline_ms, self._keys, self._tenants)

    def _produce(
        self,
        intake: Intake,
        batches: Sequence[FeatureBatch],
        paid: Mapping[tuple[int, int], PaidColumns],
    ) -> None:
        now_ms = int(time.time() * 1000)
        for record, error in intake.refused:
            send_dead_letter(self._producer, dead_letter(record, error, now_ms))
        for misplaced in intake.misplaced:
            forward(
                self._producer, TRANSACTIONS_TOPIC, misplaced.record, misplaced.card_id, misplaced.partition,
                self._keys,
            )  # fmt: skip
        produce = self._producer.produce
        for batch in batches:
            for value in encode_batch(batch):
                produce(FEATURES.name, partition=batch.partition, value=value)
        for (source, target), columns in paid.items():
            name = source_name(TRANSACTIONS_TOPIC.name, self.eras.get(source, 0))
            for items in split_paid(columns, MAX_ITEMS_BYTES):
                value = encode_items(EntityItems(name, source, [], items))
                produce(
                    ENTITIES.name, key=f"{TRANSACTIONS_TOPIC.name}:{source}", partition=target, value=value
                )


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
    accepted: Accepted, who: WhoPaid, columns: Payments, seen: Any, homes: npt.NDArray[np.int64]
) -> dict[tuple[int, int], PaidColumns]:
    """What the transactions that the cards' state took (``seen`` NEW) mean for merchants, devices, ips and customers, by source
    and partition of `entities`."""
    ids = [getattr(who.entities, entity).ids for entity in PAID_ENTITIES]
    return pack_paid(
        columns, who.cards, ids, homes, np.array(accepted.partitions, dtype=np.int64), seen == NEW
    )


def _homes(cache: ProfileCache, places: Places) -> npt.NDArray[np.int64]:
    """The partition of `entities` of each row's merchant, device, ip and customer, (n, 4), -1 where there is none."""
    homes = np.empty((len(places.cards), len(PAID_ENTITIES)), dtype=np.int64)
    for k, entity in enumerate(SHARED_ENTITIES):
        homes[:, k] = cache.homes(entity, places.shared_entities[:, k] // 3)
    homes[:, -1] = cache.homes("customer", places.customers)
    return homes


def _named_homes(entities: EntityIds, partitions: int) -> npt.NDArray[np.int64]:
    """``_homes`` without a cache."""
    homes = np.empty((len(entities.card.ids), len(PAID_ENTITIES)), dtype=np.int64)
    for k, entity in enumerate(PAID_ENTITIES):
        names = getattr(entities, entity).names
        homes[:, k] = np.where(np.diff(names.ends), entity_partitions(entity, names, partitions), -1)
    return homes


def say_staleness(entity: str, newest_ms: int) -> None:
    """``newest_ms``: of the payments that were just applied to entities of a kind."""
    FEATURE_STALENESS.labels(entity).set(max(0.0, time.time() - newest_ms / 1000))


def _refuse(chunk: Chunk, intake: Intake, judged: Judged) -> None:
    """Add what the identities refuse to the chunk's refused records."""
    if not judged.refused:
        return
    records = {(record.partition, record.offset): record for record in chunk.records}
    partitions, offsets = intake.accepted.partitions, intake.accepted.offsets
    intake.refused.extend(
        (records[partitions[row], offsets[row]], error) for row, error in judged.refused.items()
    )


def _on_entry(verdicts: Verdicts) -> Verdicts:
    """What the kernels are told of n transactions: only the first of an identity counts in the state."""
    known: Verdicts = np.where(verdicts == FIRST, FIRST_TIME, DUPLICATE).astype(np.uint8)
    known[verdicts == ANEW] = POSSIBLE
    return known


def _count(intake: Intake, verdicts: Verdicts, late_ms: list[int]) -> None:
    first = (verdicts == FIRST).tolist()
    for tenant, count in Counter(compress(intake.accepted.columns.tenant, first)).items():
        TRANSACTIONS.labels(tenant).inc(count)
    dropped = int(np.count_nonzero(verdicts == REPEATED))
    if dropped:
        DUPLICATES.labels("processor").inc(dropped)
    if intake.unknown_fields:
        UNKNOWN_FIELDS.inc(intake.unknown_fields)
    if intake.undeclared_attributes:
        UNDECLARED_ATTRIBUTES.inc(intake.undeclared_attributes)
    _count_not_believed(intake.not_believed)
    late = [behind for behind in compress(late_ms, first) if behind]
    if late:
        LATE_EVENTS.inc(len(late))
        TOO_LATE_EVENTS.inc(sum(behind > LATE_BOUND_MS for behind in late))


def _count_not_believed(found: NotBelieved) -> None:
    for header, count in Counter(found.ignored).items():
        HEADERS_IGNORED.labels(header).inc(count)
    for (header, reason), count in Counter((f.header, f.error.reason) for f in found.forged).items():
        FORGERIES.labels(header, reason).inc(count)
    if found.forged:
        record, header, error = found.forged[0]
        forgeries.error(
            "%d forged headers in this chunk, decided as if they were not there; the first: %s of %s[%d] offset %d: %s",
            len(found.forged), header, TRANSACTIONS_TOPIC.name, record.partition, record.offset, error,
        )  # fmt: skip
