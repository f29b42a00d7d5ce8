"""The labels stage: keeps the ledger index (decision and label by transaction), emits outcomes and fraud items, once.

`labels` and `decisions` are co-partitioned by card: one worker sees both sides of a join, in one index, without races.
Outcomes and items are acknowledged before the index and the position move on in one EXEC; items repeated after a crash
are dropped by their offset, outcomes carry theirs in a header.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import msgspec
from confluent_kafka import Producer

from features.online.claims import Claims
from features.online.resp import Command, RespClient
from streams.chunks import Chunk
from streams.dead_letters import dead_letter, send_dead_letter
from streams.events import InvalidEvent, Label, encode, parse_label
from streams.kafka import flush
from streams.labels.join import Join, Joined, StoredLabel
from streams.metrics import DUPLICATES, STAGE_SECONDS
from streams.metrics import OUTCOMES as OUTCOMES_METRIC
from streams.records import (
    HEADER_ENTITIES,
    EntityItems,
    IndexedDecision,
    decision_key,
    decode_entities,
    decode_indexed,
    encode_indexed,
    encode_items,
)
from streams.topics import DECISIONS, ENTITIES, OUTCOMES
from streams.topics import LABELS as LABELS_TOPIC

#: how long a decision waits for its label, and a label for its decision
KEEP_S = 60 * 86_400
ACKNOWLEDGE_WITHIN_S = 150.0


class _Id(msgspec.Struct):
    transaction_id: str


_id_decoder = msgspec.json.Decoder(_Id)
_label_decoder = msgspec.msgpack.Decoder(StoredLabel)
_pack = msgspec.msgpack.Encoder().encode


def label_key(transaction_id: str) -> str:
    """Redis key of a transaction's newest label."""
    return f"tollgate:label:{transaction_id}"


class LabelsStage:
    """Handles chunks of `labels` and `decisions` for the partitions that ``claims`` holds."""

    def __init__(self, partitions: int, client: RespClient, producer: Producer, claims: Claims) -> None:
        self._partitions = partitions
        self._client = client
        self._producer = producer
        self._claims = claims

    def handle(self, chunk: Chunk) -> None:
        """Do one chunk wholly, or raise and leave it for the next worker."""
        started = time.monotonic()
        if chunk.topic == LABELS_TOPIC.name:
            self._labels(chunk)
        else:
            self._decisions(chunk)
        STAGE_SECONDS.labels(f"labels-{chunk.topic}").observe(time.monotonic() - started)

    def _labels(self, chunk: Chunk) -> None:
        labels: list[tuple[Any, Label]] = []
        now_ms = int(time.time() * 1000)
        for record in chunk.records:
            try:
                labels.append((record, parse_label(record.value)))
            except InvalidEvent as error:
                send_dead_letter(self._producer, dead_letter(record, error, now_ms))
        ids = [label.transaction_id for _, label in labels]
        keys = [*map(decision_key, ids), *map(label_key, ids)]
        values = self._read(chunk, keys)
        decisions = {i: decode_indexed(v) for i, v in zip(ids, values[: len(ids)], strict=True) if v}
        known = {i: _label_decoder.decode(v).label for i, v in zip(ids, values[len(ids) :], strict=True) if v}
        join = Join(decisions, known, self._partitions)
        for record, label in labels:
            join.label(label, record.partition, record.offset)
        writes: list[Command] = [
            ("SET", label_key(i), _pack(StoredLabel(label)), "EX", KEEP_S)
            for i, label in join.joined.labels.items()
        ]
        self._finish(chunk, join.joined, writes)

    def _decisions(self, chunk: Chunk) -> None:
        ids = [_id_decoder.decode(record.value).transaction_id for record in chunk.records]
        values = self._read(chunk, [label_key(i) for i in ids])
        known = {i: _label_decoder.decode(v).label for i, v in zip(ids, values, strict=True) if v}
        join = Join({}, known, self._partitions)
        writes: list[Command] = []
        for record, transaction_id in zip(chunk.records, ids, strict=True):
            entities = _header(record.headers, HEADER_ENTITIES)
            indexed = IndexedDecision(record.value, decode_entities(entities) if entities else None)
            join.decision(transaction_id, indexed, record.partition, record.offset)
            writes.append(("SET", decision_key(transaction_id), encode_indexed(indexed), "EX", KEEP_S))
        self._finish(chunk, join.joined, writes)

    def _read(self, chunk: Chunk, keys: list[str]) -> list[Any]:
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        guard = self._claims.guard(partitions)
        reads: list[Command] = [("MGET", *keys)] if keys else []
        replies = self._client.patient([*guard, *reads])
        self._claims.check(partitions, replies)
        return list(replies[len(guard)]) if keys else []

    def _finish(self, chunk: Chunk, joined: Joined, writes: list[Command]) -> None:
        for partition, card_id, outcome in joined.outcomes:
            self._producer.produce(OUTCOMES.name, key=card_id, partition=partition, value=encode(outcome))
            OUTCOMES_METRIC.labels(outcome.label, outcome.decision.decision).inc()
        for (source, target), items in joined.items.items():
            batch = EntityItems(chunk.topic, source, items)
            self._producer.produce(
                ENTITIES.name, key=f"{chunk.topic}:{source}", partition=target, value=encode_items(batch)
            )
        if joined.repeated:
            DUPLICATES.labels("labels").inc(joined.repeated)
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        positions = {(tp.topic, tp.partition): offset for tp, offset in chunk.positions.items()}
        self._claims.commit(partitions, writes, positions)


def _header(headers: Iterable[tuple[str, bytes]] | None, name: str) -> bytes | None:
    for key, value in headers or ():
        if key == name:
            return value
    return None


#: what the labels worker reads
TOPICS = [LABELS_TOPIC, DECISIONS]
