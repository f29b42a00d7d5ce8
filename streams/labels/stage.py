"""The labels stage: keeps the ledger index (decision and label by transaction), emits outcomes and fraud items, once.

`labels` and `decisions` are co-partitioned by card: one worker sees both sides of a join, in one index, without races.
Outcomes and items are acknowledged before the index and the position move on in one EXEC. Items repeated after a crash
are dropped by the entity stage; outcomes that are on the log already are not sent again. What does not parse goes to dead letters, a label on
another partition than its card's is sent on to the right one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from confluent_kafka import Producer

from features.online.claims import Claims
from features.online.resp import Command, RespClient
from streams.card_numbers import mask_card_numbers
from streams.chunks import Chunk
from streams.dead_letters import dead_letter, send_dead_letter
from streams.events import Decision, InvalidEvent, Label, encode, parse_label
from streams.kafka import flush
from streams.labels.join import Join, Joined, KnownDecision, StoredLabel
from streams.labels.sent import key_of
from streams.labels.source import OutcomeSource, source_header
from streams.metrics import DUPLICATES, FORWARDED, STAGE_SECONDS
from streams.metrics import OUTCOMES as OUTCOMES_METRIC
from streams.partitioning import partitions_of
from streams.records import (
    HEADER_APPENDED_MS,
    HEADER_ENTITIES,
    HEADER_FORWARDED,
    DecidedEntities,
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

logger = logging.getLogger(__name__)

#: how long a decision waits for its label, and a label for its decision
KEEP_S = 60 * 86_400
ACKNOWLEDGE_WITHIN_S = 150.0


#: what decoders raise for bytes that others wrote
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, TypeError, RecursionError)


class _Decided(msgspec.Struct):
    """What is read of every decision."""

    transaction_id: str
    decision: Literal["approve", "review", "decline"]


_decided_decoder = msgspec.json.Decoder(_Decided)
_decision_decoder = msgspec.json.Decoder(Decision)
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
        self._sent: set[int] = set()

    def remember(self, sent: set[int]) -> None:
        """After an assignment: outcomes (``sent.key_of``) that are on the log already and are not sent again."""
        self._sent = sent

    def handle(self, chunk: Chunk) -> None:
        """Do one chunk wholly, or raise and leave it for the next worker."""
        started = time.monotonic()
        if chunk.topic == LABELS_TOPIC.name:
            self._labels(chunk)
        else:
            self._decisions(chunk)
        STAGE_SECONDS.labels(f"labels-{chunk.topic}").observe(time.monotonic() - started)

    def _labels(self, chunk: Chunk) -> None:
        parsed: list[tuple[Any, Label]] = []
        refused: list[tuple[Any, InvalidEvent]] = []
        for record in chunk.records:
            try:
                parsed.append((record, parse_label(record.value)))
            except InvalidEvent as error:
                refused.append((record, error))
        labels, misplaced = self._sort_out(parsed)
        ids = [label.transaction_id for _, label in labels]
        values = self._read(chunk, [*map(decision_key, ids), *map(label_key, ids)])
        decisions: dict[str, KnownDecision] = {}
        known: dict[str, StoredLabel] = {}
        for (record, label), decided, said in zip(
            labels, values[: len(ids)], values[len(ids) :], strict=True
        ):
            if decision := _stored_decision(decided, record):
                decisions[label.transaction_id] = decision
            if before := _stored_label(said, record):
                known[label.transaction_id] = before
        self._refuse(refused)
        for record, label, home in misplaced:
            self._forward(record, label.card_id, home)
        join = Join(decisions, known, self._partitions)
        for record, label in labels:
            join.label(label, record.partition, record.offset)
        writes: list[Command] = [
            ("SET", label_key(i), _pack(stored), "EX", KEEP_S) for i, stored in join.joined.labels.items()
        ]
        self._finish(chunk, join.joined, writes)

    def _decisions(self, chunk: Chunk) -> None:
        decided: list[tuple[Any, _Decided]] = []
        refused: list[tuple[Any, InvalidEvent]] = []
        for record in chunk.records:
            try:
                decided.append((record, _decided_decoder.decode(record.value)))
            except _UNREADABLE as error:
                refused.append((record, _poison(error)))
        values = self._read(chunk, [label_key(decision.transaction_id) for _, decision in decided])
        known: dict[str, StoredLabel] = {}
        for (record, decision), said in zip(decided, values, strict=True):
            if label := _stored_label(said, record):
                known[decision.transaction_id] = label
        join = Join({}, known, self._partitions)
        writes: list[Command] = []
        for record, decision in decided:
            entities = _entities(record)
            if decision.decision == "decline" or decision.transaction_id in known:
                # nearly all others lead to nothing now, and decoding them wholly would cost as much as all the rest
                try:
                    whole = _decision_decoder.decode(record.value)
                except _UNREADABLE as error:
                    refused.append((record, _poison(error)))
                    continue
                join.decision(KnownDecision(whole, entities), record.partition, record.offset)
            indexed = encode_indexed(IndexedDecision(record.value, entities))
            writes.append(("SET", decision_key(decision.transaction_id), indexed, "EX", KEEP_S))
        self._refuse(refused)
        self._finish(chunk, join.joined, writes)

    def _sort_out(
        self, parsed: list[tuple[Any, Label]]
    ) -> tuple[list[tuple[Any, Label]], list[tuple[Any, Label, int]]]:
        """Labels on their card's partition, and those on another with the one that they belong to."""
        if not parsed:
            return [], []
        homes = partitions_of([label.card_id for _, label in parsed], self._partitions).tolist()
        placed = [(record, label, home) for (record, label), home in zip(parsed, homes, strict=True)]
        return (
            [(record, label) for record, label, home in placed if home == record.partition],
            [(record, label, home) for record, label, home in placed if home != record.partition],
        )

    def _refuse(self, refused: list[tuple[Any, InvalidEvent]]) -> None:
        now_ms = int(time.time() * 1000)
        for record, error in refused:
            send_dead_letter(self._producer, dead_letter(record, error, now_ms))

    def _forward(self, record: Any, card_id: str, home: int) -> None:
        """Send a misplaced label on, unchanged; its original append time goes with it."""
        headers = dict(record.headers or ())
        headers.setdefault(HEADER_APPENDED_MS, str(record.timestamp).encode())
        headers[HEADER_FORWARDED] = f"{record.partition}:{record.offset}".encode()
        self._producer.produce(
            LABELS_TOPIC.name, key=card_id, partition=home, value=record.value, headers=list(headers.items())
        )
        FORWARDED.inc()

    def _read(self, chunk: Chunk, keys: list[str]) -> list[Any]:
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        guard = self._claims.guard(partitions)
        reads: list[Command] = [("MGET", *keys)] if keys else []
        replies = self._client.patient([*guard, *reads])
        starts = {(tp.topic, tp.partition): offset for tp, offset in chunk.starts.items()}
        self._claims.check(partitions, replies, starts)
        return list(replies[len(guard)]) if keys else []

    def _finish(self, chunk: Chunk, joined: Joined, writes: list[Command]) -> None:
        for paired in joined.outcomes:
            if self._sent and key_of(paired.outcome) in self._sent:
                DUPLICATES.labels("outcomes").inc()
                continue
            source = OutcomeSource(chunk.topic, paired.partition, paired.offset)
            self._producer.produce(
                OUTCOMES.name,
                key=paired.card_id,
                partition=paired.partition,
                value=encode(paired.outcome),
                headers=[source_header(source)],
            )
            OUTCOMES_METRIC.labels(paired.outcome.label, paired.outcome.decision.decision).inc()
        for (origin, target), items in joined.items.items():
            batch = EntityItems(chunk.topic, origin, items)
            self._producer.produce(
                ENTITIES.name, key=f"{chunk.topic}:{origin}", partition=target, value=encode_items(batch)
            )
        if joined.repeated:
            DUPLICATES.labels("labels").inc(joined.repeated)
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        positions = {(tp.topic, tp.partition): offset for tp, offset in chunk.positions.items()}
        self._claims.commit(partitions, writes, positions)


def _poison(error: Exception) -> InvalidEvent:
    # the text may quote a value of the record
    return InvalidEvent("poison", "", f"no decision: {mask_card_numbers(str(error).encode()).decode()}")


def _header(headers: Iterable[tuple[str, bytes]] | None, name: str) -> bytes | None:
    for key, value in headers or ():
        if key == name:
            return value
    return None


def _stored_decision(raw: bytes | None, record: Any) -> KnownDecision | None:
    """What the index holds for a label's transaction; None where it holds nothing that can be read."""
    if not raw:
        return None
    try:
        indexed = decode_indexed(raw)
        return KnownDecision(_decision_decoder.decode(indexed.decision), indexed.entities)
    except _UNREADABLE as error:
        _log_unreadable("stored decision", record, error)
        return None


def _stored_label(raw: bytes | None, record: Any) -> StoredLabel | None:
    """The newest label that the index holds for a record's transaction, as above."""
    if not raw:
        return None
    try:
        stored: StoredLabel = _label_decoder.decode(raw)
    except _UNREADABLE as error:
        _log_unreadable("stored label", record, error)
        return None
    if stored.label.label == "fraud" and not stored.ever_fraud:
        # written before this was kept
        return msgspec.structs.replace(stored, ever_fraud=True)
    return stored


def _entities(record: Any) -> DecidedEntities | None:
    """Whom a decision names in its header; None where it names nobody, or the header cannot be read."""
    raw = _header(record.headers, HEADER_ENTITIES)
    if not raw:
        return None
    try:
        return decode_entities(raw)
    except _UNREADABLE as error:
        _log_unreadable(HEADER_ENTITIES, record, error)
        return None


def _log_unreadable(what: str, record: Any, error: Exception) -> None:
    # the error's text may quote a value, which belongs in no log
    logger.warning(
        "the %s of %s[%d] offset %d does not decode (%s): taken as unknown",
        what, record.topic, record.partition, record.offset, type(error).__name__,
    )  # fmt: skip


#: what the labels worker reads
TOPICS = [LABELS_TOPIC, DECISIONS]
