"""The card stage: a chunk of `transactions` becomes features, entity items and the cards' new state, once.

Order: read state and position; compute; produce and wait for the acknowledgement; write state and position in one
EXEC. A crash anywhere repeats at most records that carry their source offset and are dropped downstream (decision 1).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from confluent_kafka import Producer

from features.catalogue import CATALOGUE_HASH, INDEX, LATE_BOUND_S, WIDTH
from features.columns import Payments, columns_of, text_hash
from features.holder_kernel import transaction_features
from features.online.claims import REBUILDING_KEY, Claims
from features.online.gather import Gather
from features.online.layout import CARD_STATE, KEEP_AGAIN_MS
from features.online.resp import Packed, RespClient
from features.online.wire import pack_hset
from streams.chunks import Chunk
from streams.dead_letters import dead_letter, send_dead_letter
from streams.kafka import flush
from streams.metrics import (
    DUPLICATES,
    FORWARDED,
    LATE_EVENTS,
    STAGE_SECONDS,
    TOO_LATE_EVENTS,
    TRANSACTIONS,
    UNKNOWN_FIELDS,
)
from streams.missing import present
from streams.partitioning import entity_partition
from streams.processor.intake import Accepted, Intake, sort_out
from streams.processor.items import payment_of
from streams.records import (
    HEADER_APPENDED_MS,
    HEADER_FORWARDED,
    EntityItem,
    EntityItems,
    FeatureRecord,
    encode_features,
    encode_items,
)
from streams.settings import Settings
from streams.topics import ENTITIES, FEATURES
from streams.topics import TRANSACTIONS as TRANSACTIONS_TOPIC

LATE_BOUND_MS = LATE_BOUND_S * 1000
_COUNT_24H, _SUM_24H = INDEX["card_count_24h"], INDEX["card_sum_24h"]
#: the broker may be away this long before the process gives up and is restarted
ACKNOWLEDGE_WITHIN_S = 150.0


class RebuildEnded(Exception):
    """A session that went on without state ends, because the state is there again."""


class CardStage:
    """Handles chunks of `transactions` for the partitions that ``claims`` holds."""

    def __init__(self, settings: Settings, client: RespClient, producer: Producer, claims: Claims) -> None:
        self._settings = settings
        self._client = client
        self._producer = producer
        self._claims = claims
        self.rebuilding = False

    def handle(self, chunk: Chunk) -> None:
        """Do one chunk wholly, or raise and leave it for the next worker."""
        started = time.monotonic()
        if self.rebuilding:
            self._without_state(chunk)
            return
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        intake = sort_out(chunk.records, self._settings.partitions, self._settings.deadline_ms)
        accepted = intake.accepted
        gather = Gather([a.transaction for a in accepted])
        guard = self._claims.guard(partitions)
        replies = self._client.patient([*guard, *gather.commands()])
        starts = {(tp.topic, tp.partition): offset for tp, offset in chunk.starts.items()}
        self._claims.check(partitions, replies, starts)
        gather.load(replies[len(guard) :])
        columns = columns_of(
            [a.transaction for a in accepted], [a.event_ms for a in accepted], [a.offset for a in accepted]
        )
        before_ms = gather.cards["last_ms"].copy()
        rows, seen = gather.compute(columns, apply=True)
        late_ms = _late(gather.card_slots.tolist(), columns["event_ms"].tolist(), before_ms.tolist())
        self._produce(intake, gather, columns, rows, seen, late_ms)
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)
        positions = {(tp.topic, tp.partition): offset for tp, offset in chunk.positions.items()}
        self._claims.commit(partitions, [_writes(gather, rows, seen, before_ms)], positions)
        _count(intake, seen, late_ms)
        STAGE_SECONDS.labels("processor").observe(time.monotonic() - started)

    def _without_state(self, chunk: Chunk) -> None:
        """Features of the transactions alone, marked as such; the state is not touched: another makes it again from the log.

        Raises:
            RebuildEnded: the state is there again; a new session starts from its positions.
        """
        if self._client.patient([("GET", REBUILDING_KEY)])[0] is None:
            raise RebuildEnded("the state is rebuilt: features are complete again from here on")
        intake = sort_out(chunk.records, self._settings.partitions, self._settings.deadline_ms)
        accepted = intake.accepted
        gather = Gather([a.transaction for a in accepted])
        columns = columns_of(
            [a.transaction for a in accepted], [a.event_ms for a in accepted], [a.offset for a in accepted]
        )
        n = len(accepted)
        rows, seen = np.full((n, WIDTH), np.nan, dtype=np.float32), np.zeros(n, dtype=np.uint8)
        transaction_features(columns, seen, rows)
        missing = [present(a.transaction) for a in accepted]
        self._produce(intake, gather, columns, rows, seen, [0] * n, missing)
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)
        _count(intake, seen, [0] * n)

    def _produce(
        self, intake: Intake, gather: Gather, columns: Payments, rows: Any, seen: Any, late_ms: list[int],
        missing: list[int] | None = None,
    ) -> None:  # fmt: skip
        now_ms = int(time.time() * 1000)
        for record, error in intake.refused:
            send_dead_letter(self._producer, dead_letter(record, error, now_ms))
        for misplaced in intake.misplaced:
            self._forward(misplaced.record, misplaced.card_id, misplaced.partition)
        as_of = gather.entity_as_of().tolist() if intake.accepted else []
        frauds_as_of = gather.frauds_as_of().tolist() if intake.accepted else []
        items: dict[tuple[int, int], list[EntityItem]] = {}
        produce = self._producer.produce
        for i, event in enumerate(intake.accepted):
            if seen[i]:
                continue
            tx = event.transaction
            produce(
                FEATURES.name,
                key=tx.card_id,
                partition=event.partition,
                value=encode_features(
                    _features(
                        event, rows[i], as_of[i], frauds_as_of[i], late_ms[i], missing[i] if missing else 0
                    )
                ),
            )
            _collect(items, event, columns, i, self._settings.partitions)
        for (source, target), collected in items.items():
            value = encode_items(EntityItems(TRANSACTIONS_TOPIC.name, source, collected))
            produce(ENTITIES.name, key=f"{TRANSACTIONS_TOPIC.name}:{source}", partition=target, value=value)

    def _forward(self, record: Any, card_id: str, partition: int) -> None:
        """Send a misplaced record on, unchanged, with its original append time kept for the deadline."""
        headers = dict(record.headers or ())
        headers.setdefault(HEADER_APPENDED_MS, str(record.timestamp).encode())
        headers[HEADER_FORWARDED] = f"{record.partition}:{record.offset}".encode()
        self._producer.produce(
            TRANSACTIONS_TOPIC.name,
            key=card_id,
            partition=partition,
            value=record.value,
            headers=list(headers.items()),
        )
        FORWARDED.inc()


def _features(
    event: Accepted, row: Any, as_of: list[int], frauds_as_of: int, late_ms: int, missing: int
) -> FeatureRecord:
    edge = event.decided
    return FeatureRecord(
        edge.catalogue if edge else CATALOGUE_HASH,
        event.partition,
        event.offset,
        event.appended_ms,
        event.deadline_ms,
        edge.missing if edge else missing,
        event.transaction,
        event.event_ms,
        edge.vector if edge else row.tobytes(),
        edge.as_of if edge else (event.offset - 1, as_of[0], as_of[1], as_of[2], as_of[3]),
        edge.decision if edge else None,
        event.trace,
        edge.frauds_as_of if edge else frauds_as_of,
        late_ms if late_ms > LATE_BOUND_MS else 0,
    )


def _late(slots: list[int], event_ms: list[int], newest: list[int]) -> list[int]:
    """How far each payment comes behind its card's newest, milliseconds; ``newest`` by slot, before the batch."""
    out = []
    for slot, moment in zip(slots, event_ms, strict=True):
        out.append(max(0, newest[slot] - moment))
        newest[slot] = max(newest[slot], moment)
    return out


def _collect(
    items: dict[tuple[int, int], list[EntityItem]],
    event: Accepted,
    columns: Payments,
    i: int,
    partitions: int,
) -> None:
    """What one transaction means for its merchant, device, ip and customer, by partition of `entities`."""
    tx = event.transaction
    card_hash = text_hash(tx.card_id)
    entities = (
        ("merchant", tx.merchant_id),
        ("device", tx.device_id),
        ("ip", tx.ip),
        ("customer", tx.customer_id),
    )
    for entity, entity_id in entities:
        if not entity_id:
            continue
        target = entity_partition(entity, entity_id, partitions)
        payment = None
        if entity == "customer":
            hashes = (
                columns["id_hash"][i],
                columns["merchant_hash"][i],
                columns["device_hash"][i],
                columns["country"][i],
            )
            payment = payment_of(tx, *map(int, hashes))
        items.setdefault((event.partition, target), []).append(
            EntityItem(
                entity, entity_id, "tx", event.offset, event.event_ms, tx.amount_minor, card_hash, 0, payment
            )
        )


def _writes(gather: Gather, rows: Any, seen: Any, before_ms: Any) -> Packed:
    """One HSET per card that changed: its profile and, from its last row, the scalars that Feast's users read."""
    last_row = {int(slot): i for i, slot in enumerate(gather.card_slots) if not seen[i]}
    names = list(gather.card_ids)
    slots = np.fromiter(last_row, dtype=np.int64, count=len(last_row))
    last_ms = gather.cards["last_ms"][slots]
    counted = rows[list(last_row.values())][:, [_COUNT_24H, _SUM_24H]].astype(np.int64)
    expire = before_ms[slots] // KEEP_AGAIN_MS != last_ms // KEEP_AGAIN_MS
    return pack_hset(
        CARD_STATE, [names[slot] for slot in last_row], gather.cards, slots, last_ms,
        np.column_stack([last_ms, counted]), expire,
    )  # fmt: skip


def _count(intake: Intake, seen: Any, late_ms: list[int]) -> None:
    tenants: dict[str, int] = {}
    for i, event in enumerate(intake.accepted):
        if not seen[i]:
            tenants[event.transaction.tenant] = tenants.get(event.transaction.tenant, 0) + 1
    for tenant, count in tenants.items():
        TRANSACTIONS.labels(tenant).inc(count)
    repeated = int(np.count_nonzero(seen))
    if repeated:
        DUPLICATES.labels("processor").inc(repeated)
    if intake.unknown_fields:
        UNKNOWN_FIELDS.inc(intake.unknown_fields)
    late = [behind for behind, repeat in zip(late_ms, seen, strict=True) if behind and not repeat]
    if late:
        LATE_EVENTS.inc(len(late))
        TOO_LATE_EVENTS.inc(sum(behind > LATE_BOUND_MS for behind in late))
