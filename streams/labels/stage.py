"""The labels stage: keeps the decision index (decision and label by transaction), emits outcomes and entity updates, each once.

`labels` and `decisions` are co-partitioned by card, so one worker handles both sides of a join in one index, without races.
Outcomes and entity updates are acknowledged before index and position are committed in one EXEC. After a crash, the entity stage
drops repeated updates, and outcomes already on the log are not sent again. Records that do not parse become dead letters; a label
on the wrong partition for its card is forwarded to the right one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from confluent_kafka import Producer

from features.identity import DEFAULT_TENANT, identity_of
from features.store.partition_lease import Leases
from features.store.partitions import partitions_of
from features.store.redis_client import Command, Packed, RespClient
from streams.contracts.decision import MAX_DECISION_BYTES
from streams.contracts.decoding import RecordDecoder
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.label import Label, check_known_by, of_known_tenant, parse_label
from streams.contracts.tenants import Tenants
from streams.contracts.text.card_numbers import mask_text
from streams.contracts.text.json_encoding import encode
from streams.labels.early_labels import EarlyLabels, Subject, Waiting, subject_of
from streams.labels.index_lookup import Asked, known_decision, known_decisions, stored_label
from streams.labels.join import Join, Joined, KnownDecision, Refusal, StoredLabel
from streams.labels.sent_outcomes import key_of
from streams.log.decision_index import (
    KEEP_S,
    IndexedDecision,
    IndexWriter,
    Row,
    entries_in,
    lookups,
)
from streams.log.forwarding import forward
from streams.log.offsets.log_marks import LogMarks, source_name
from streams.log.outcome_source import OutcomeSource, source_header
from streams.log.records import (
    HEADER_ENTITIES,
    EntityItems,
    encode_in_parts,
)
from streams.log.seal import Keys
from streams.log.topics import DECISIONS, ENTITIES, OUTCOMES
from streams.log.topics import LABELS as LABELS_TOPIC
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.dead_letters import dead_letter, send_dead_letter
from streams.runtime.kafka.clients import flush
from streams.runtime.metrics import DUPLICATES, LABELS, STAGE_SECONDS
from streams.runtime.metrics import OUTCOMES as OUTCOMES_METRIC

logger = logging.getLogger(__name__)

ACKNOWLEDGE_WITHIN_S = 150.0


class _Decided(msgspec.Struct):
    """The fields read of every decision."""

    transaction_id: str
    decision: Literal["approve", "review", "decline"]
    tenant: str = DEFAULT_TENANT

    @property
    def identity(self) -> str:
        return identity_of(self.tenant, self.transaction_id)


_decode_decided = RecordDecoder(_Decided, max_bytes=MAX_DECISION_BYTES)
_pack = msgspec.msgpack.Encoder().encode


#: to a label that cannot wait
NO_ROOM = (
    "no decision is known of its transaction, and too many labels of its source wait already; replay it later"
)


class LabelRecord(NamedTuple):
    """A label's record, in the form that ``dead_letter`` takes."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


def label_key(subject: Subject) -> str:
    """Redis key of a payment's newest label."""
    return f"tollgate:label:{subject.text}"


class LabelsStage:
    """Handles chunks of `labels` and `decisions` of the partitions leased through ``leases``."""

    def __init__(
        self,
        partitions: int,
        client: RespClient,
        producer: Producer,
        leases: Leases,
        keys: Keys,
        tenants: Tenants,
        marks: LogMarks,
        early: EarlyLabels | None = None,
    ) -> None:
        """``keys`` seal what is forwarded; ``tenants``: whose labels are taken."""
        self._partitions = partitions
        self._client = client
        self._producer = producer
        self._leases = leases
        self._keys = keys
        self._tenants = tenants
        self._marks = marks
        #: how often the log of a partition began again
        self._eras: Mapping[tuple[str, int], int] = {}
        self._sent: set[int] = set()
        self._early = EarlyLabels() if early is None else early
        self._index = IndexWriter()

    def remember(
        self, sent: set[int], partitions: Iterable[int], eras: Mapping[tuple[str, int], int] | None = None
    ) -> None:
        """After an assignment of ``partitions``: set the outcomes (``sent.key_of``) that are on the log and not sent again, and the
        eras of partitions whose log began again."""
        self._sent = sent
        self._eras = eras or {}
        # expiries are set again, in case the store has lost them
        self._index = IndexWriter()
        self._early.load(self._client, partitions, time.time())

    def handle(self, chunk: Chunk) -> None:
        """Handle one chunk completely, or raise and leave it to the next worker."""
        started = time.monotonic()
        if chunk.topic == LABELS_TOPIC.name:
            self._labels(chunk)
        else:
            self._decisions(chunk)
        STAGE_SECONDS.labels(f"labels-{chunk.topic}").observe(time.monotonic() - started)

    def _labels(self, chunk: Chunk) -> None:
        parsed: list[tuple[Any, Label]] = []
        refused: list[tuple[Any, InvalidEvent]] = []
        now_s = time.time()
        for record in chunk.records:
            try:
                label = of_known_tenant(parse_label(record.value), self._tenants)
                check_known_by(label, int(now_s * 1000))
                parsed.append((record, label))
            except InvalidEvent as error:
                refused.append((record, error))
        labels, misplaced = self._sort_out(parsed)
        decisions, known = self._known(chunk, labels)
        self._refuse(refused)
        for record, label, home in misplaced:
            forward(self._producer, LABELS_TOPIC, record, label.card_id, home, self._keys)
        join = Join(decisions, known, self._partitions)
        for record, label in labels:
            join.label(label, record.partition, record.offset)
        writes = self._wait(join.joined, now_s)
        writes += [
            ("SET", label_key(subject), _pack(stored), "EX", KEEP_S)
            for subject, stored in join.joined.labels.items()
        ]
        self._finish(chunk, join.joined, writes)

    def _wait(self, joined: Joined, now_s: float) -> list[Command]:
        """Let labels without a decision wait, as far as there is room; the others are refused. Returns what stores them."""
        taken: dict[int, list[Waiting]] = {}
        for label, partition in joined.waiting:
            subject = subject_of(label)
            one = Waiting(subject, label.source)
            if self._early.take(partition, one):
                taken.setdefault(partition, []).append(one)
                LABELS.labels(label.source, "waiting").inc()
            elif (stored := joined.labels.pop(subject, None)) is not None:
                error = InvalidEvent("label_waiting", "transaction_id", NO_ROOM)
                joined.refused.append(Refusal(stored.label, partition, stored.offset, error))
        return [
            command
            for partition, waiting in taken.items()
            for command in self._early.came(partition, waiting, now_s)
        ]

    def _known(
        self, chunk: Chunk, labels: list[tuple[Any, Label]]
    ) -> tuple[dict[str, KnownDecision], dict[Subject, StoredLabel]]:
        """Of a chunk's labels: decisions by identity, previous labels by what they are about."""
        ids = [label.identity for _, label in labels]
        subjects = [subject_of(label) for _, label in labels]
        now_s = time.time()
        values, found = self._read(chunk, list(map(label_key, subjects)), lookups(ids, now_s))
        entries = entries_in(found, now_s)
        records = [record for record, _ in labels]
        known = {}
        for record, subject, said in zip(records, subjects, values, strict=True):
            if before := stored_label(said, record):
                known[subject] = before
        asked = map(Asked, records, ids, entries)
        return known_decisions(self._client, list(asked)), known

    def _decisions(self, chunk: Chunk) -> None:
        decided: list[tuple[Any, _Decided]] = []
        refused: list[tuple[Any, InvalidEvent]] = []
        for record in chunk.records:
            try:
                decided.append((record, _decode_decided(record.value)))
            except InvalidEvent as error:
                refused.append((record, _poison(error)))
        early: dict[tuple[int, str], list[Waiting]] = {}
        for record, decision in decided if self._early else ():
            if waiting := self._early.of(record.partition, decision.identity):
                early[record.partition, decision.identity] = list(waiting)
        subjects = {one.subject: partition for (partition, _), some in early.items() for one in some}
        values, _ = self._read(chunk, list(map(label_key, subjects)))
        known: dict[Subject, StoredLabel] = {}
        for (subject, partition), said in zip(subjects.items(), values, strict=True):
            place = LabelRecord(LABELS_TOPIC.name, partition, -1, None)
            if label := stored_label(said, place):
                known[subject] = label
        join = Join({}, known, self._partitions)
        rows: dict[int, list[Row]] = {}
        for record, decision in decided:
            entities = _header(record.headers, HEADER_ENTITIES)
            waiting = early.get((record.partition, decision.identity), ())
            if decision.decision == "decline" or waiting:
                # nearly all other decisions have no effect now, and decoding them fully would cost as much as everything else
                try:
                    whole = known_decision(record.value, entities, record)
                except InvalidEvent as error:
                    refused.append((record, _poison(error)))
                    continue
                join.decision(whole, [one.subject for one in waiting], record.partition, record.offset)
            indexed = IndexedDecision(record.value, entities)
            rows.setdefault(record.partition, []).append(Row(record.offset, decision.identity, indexed))
        self._refuse(refused)
        writes: list[Command] = []
        for partition, some in rows.items():
            era = self._eras.get((chunk.topic, partition), 0)
            writes += self._index.writes(partition, some, time.time(), era)
            if met := [one for row in some for one in early.pop((partition, row.identity), ())]:
                writes += self._early.met(partition, met)
        self._finish(chunk, join.joined, writes)

    def _sort_out(
        self, parsed: list[tuple[Any, Label]]
    ) -> tuple[list[tuple[Any, Label]], list[tuple[Any, Label, int]]]:
        """(labels on their card's partition, labels on another one with their right partition)."""
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

    def _read(self, chunk: Chunk, keys: list[str], also: Packed | None = None) -> tuple[list[Any], list[Any]]:
        """Values of ``keys`` and replies to ``also``; checks that the store has not lost what this worker wrote."""
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        guard = self._leases.guard(partitions)
        reads: list[Command] = [("MGET", *keys)] if keys else []
        if also is not None:
            reads.append(also)
        replies = self._client.with_retry([*guard, *reads])
        starts = {(tp.topic, tp.partition): offset for tp, offset in chunk.starts.items()}
        self._leases.check(partitions, replies, starts)
        found = list(replies[len(guard) :])
        return (list(found[0]), found[1:]) if keys else ([], [])

    def _finish(self, chunk: Chunk, joined: Joined, writes: list[Command]) -> None:
        for label, partition, offset, error in joined.refused:
            LABELS.labels(label.source, "refused").inc()
            self._refuse([(LabelRecord(LABELS_TOPIC.name, partition, offset, encode(label)), error)])
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
            LABELS.labels(paired.outcome.source, "joined").inc()
            OUTCOMES_METRIC.labels(paired.outcome.label, paired.outcome.decision.decision).inc()
        for (origin, target), items in joined.items.items():
            name = source_name(chunk.topic, self._eras.get((chunk.topic, origin), 0))
            for value in encode_in_parts(EntityItems(name, origin, items)):
                self._producer.produce(
                    ENTITIES.name, key=f"{chunk.topic}:{origin}", partition=target, value=value
                )
        for label in joined.repeated:
            DUPLICATES.labels("labels").inc()
            LABELS.labels(label.source, "outdated").inc()
        flush(self._producer, ACKNOWLEDGE_WITHIN_S)
        partitions = [(tp.topic, tp.partition) for tp in chunk.positions]
        positions = {(tp.topic, tp.partition): offset for tp, offset in chunk.positions.items()}
        writes = [*writes, *self._marks.writes(chunk.topic, chunk.records)]
        self._leases.commit_once_there_is_room(partitions, writes, positions)


def _poison(error: Exception) -> InvalidEvent:
    # the text may quote a value of the record
    return InvalidEvent("poison", "", f"not a decision: {mask_text(str(error))}")


def _header(headers: Iterable[tuple[str, bytes]] | None, name: str) -> bytes | None:
    for key, value in headers or ():
        if key == name:
            return value
    return None


#: the topics of the labels worker
TOPICS = [LABELS_TOPIC, DECISIONS]
