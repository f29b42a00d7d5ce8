"""Reads what a rollout's step needs to know: decisions of both arms, a shadow's figures, labels. Counts only; it decides nothing.

State is in the topics: a process that starts again reads from the moment the step began, and does not judge before it has caught up.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
import numpy as np
from confluent_kafka import KafkaException, Message, TopicPartition

from models.decision import CODES
from models.rollout.checks import checks, figures
from models.rollout.counts import Arms, Labelled, Pair, Pairs, Seen
from models.rollout.plan import OF_LABELS
from models.rollout.progress import Measured, share_of, step_of
from models.rollout.run import Run
from streams.contracts.decoding import RecordDecoder
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.outcome import Outcome
from streams.contracts.shadow import ShadowBatch, decode_shadow
from streams.log.topics import DECISIONS, OUTCOMES, SHADOW, Topic
from streams.runtime.kafka.broker_loss import remembering
from streams.runtime.kafka.clients import is_record, new_consumer, watermarks
from streams.runtime.passed_over import pass_over

logger = logging.getLogger(__name__)
#: replicas take a new share one after the other: what they decide in the first seconds of a step is not counted
SETTLE = timedelta(seconds=5)
#: records of one call to the broker, and how long one call of ``read`` may take
BATCH, READ_S = 2_000, 0.3
ANSWER_S = 10.0
#: records before the end that are looked at where the broker knows none of the step; older ones are left out by their time
LOOK_BACK = 10_000


class _Decided(msgspec.Struct):
    """What the counts need of a decision."""

    card_id: str
    arm: str
    decision: Literal["approve", "review", "decline"]
    status: Literal["scored", "degraded", "not_scored"]
    score: float | None
    latency_ms: float
    degraded_by: list[str] = []


_decode = RecordDecoder(_Decided)
_decode_outcome = RecordDecoder(Outcome)


class Watch:
    """Counts of one step of a run. ``read`` often, then ``measured``; ``close`` at the step's end.

    Raises:
        KafkaException: the broker does not answer, or has no such topic.
    """

    def __init__(self, kafka: str, run: Run) -> None:
        self._run = run
        self._from_ms = int((run.step_since + SETTLE).timestamp() * 1000)
        self._shadow = step_of(run).kind == "shadow"
        self._pairs, self._arms = Pairs(), Arms(run.id, share_of(run))
        self._last_ms: int | None = None
        labels = any(guard.metric in OF_LABELS for guard in run.plan.guards_of(step_of(run)))
        topics = [SHADOW] if self._shadow else [DECISIONS, OUTCOMES] if labels else [DECISIONS]
        self._consumer = new_consumer(
            kafka,
            f"rollout-counts-{uuid.uuid4().hex[:8]}",
            **{"enable.partition.eof": False, **remembering()},
        )
        self._behind = self._assign(topics)

    @property
    def caught_up(self) -> bool:
        """Whether everything was read that was there when this watch began."""
        return not self._behind

    def read(self, within_s: float = READ_S) -> None:
        """Count what is new. Raises: BrokersForgotten."""
        until_s = time.monotonic() + within_s
        while True:
            messages = self._consumer.consume(BATCH, timeout=0.0 if self.caught_up else 0.1)
            for message in messages:
                if is_record(self._consumer, message):
                    self._take(message)
                    self._note_place(message)
            if len(messages) < BATCH or time.monotonic() > until_s:
                return

    def measured(self) -> Measured:
        """What the step has seen so far."""
        counts = self._pairs if self._shadow else self._arms
        seen = self._pairs.decisions if self._shadow else self._arms.decisions["challenger"]
        last = None if self._last_ms is None else datetime.fromtimestamp(self._last_ms / 1000, UTC)
        return Measured(seen, last, checks(self._run.plan, step_of(self._run), counts), figures(counts))

    def close(self) -> None:
        self._consumer.close()

    def _assign(self, topics: list[Topic]) -> dict[tuple[str, int], int]:
        """Start each partition at the step's beginning; returns how far each reaches now, of those that hold anything to read."""
        ends: dict[tuple[str, int], int] = {}
        places = []
        for topic in topics:
            known = self._consumer.list_topics(topic.name, timeout=ANSWER_S).topics[topic.name]
            for partition in known.partitions:
                first, end = watermarks(self._consumer, TopicPartition(topic.name, partition), ANSWER_S)
                start = self._start(topic.name, partition, end)
                places.append(TopicPartition(topic.name, partition, max(first, start)))
                if max(first, start) < end:
                    ends[topic.name, partition] = end
        self._consumer.assign(places)
        return ends

    def _start(self, topic: str, partition: int, end: int) -> int:
        try:
            (found,) = self._consumer.offsets_for_times(
                [TopicPartition(topic, partition, self._from_ms)], timeout=ANSWER_S
            )
        except KafkaException as error:
            # earlier records are left out by their time
            logger.warning("%s[%d] is read from its beginning: %s", topic, partition, error)
            return 0
        # -1: nothing is as young yet, or a mock broker, which never answers
        return int(found.offset) if found.offset >= 0 else end - LOOK_BACK

    def _note_place(self, message: Message) -> None:
        place = (message.topic(), message.partition())
        if message.offset() + 1 >= self._behind.get(place, 0):
            self._behind.pop(place, None)

    def _take(self, message: Message) -> None:
        appended_ms = message.timestamp()[1]
        if appended_ms < self._from_ms:
            return
        try:
            if message.topic() == SHADOW.name:
                self._take_shadow(decode_shadow(message.value()), appended_ms)
            elif message.topic() == OUTCOMES.name:
                self._take_outcome(_decode_outcome(message.value()))
            else:
                self._take_decision(_decode(message.value()), appended_ms)
        except InvalidEvent as error:
            pass_over(message, error)

    def _take_decision(self, said: _Decided, appended_ms: int) -> None:
        before = self._arms.decisions["challenger"]
        scored = said.status != "not_scored" and "model_failed" not in said.degraded_by
        self._arms.add(
            Seen(said.card_id, said.arm, CODES[said.decision], said.score, said.latency_ms, scored)
        )
        if self._arms.decisions["challenger"] > before:
            self._last_ms = max(self._last_ms or 0, appended_ms)

    def _take_shadow(self, batch: ShadowBatch, appended_ms: int) -> None:
        if batch.run != self._run.id:
            return
        self._pairs.add_all(_pairs(batch), batch.dropped)
        self._last_ms = max(self._last_ms or 0, appended_ms)

    def _take_outcome(self, outcome: Outcome) -> None:
        said = outcome.decision
        if said.decided_at >= self._run.step_since + SETTLE:
            is_fraud = outcome.label == "fraud"
            self._arms.add_label(
                Labelled(said.card_id, CODES[said.decision], is_fraud, outcome.amount_minor, outcome.currency)
            )


def _pairs(batch: ShadowBatch) -> Iterator[Pair]:
    theirs, ours = (
        np.frombuffer(batch.champion_codes, np.int8),
        np.frombuffer(batch.challenger_codes, np.int8),
    )
    scores = np.frombuffer(batch.champion_scores, "<f4"), np.frombuffer(batch.challenger_scores, "<f4")
    amounts = np.frombuffer(batch.amounts_minor, "<i8")
    return map(
        Pair, batch.cards, theirs.tolist(), ours.tolist(), map(_known, scores[0].tolist()), map(_known, scores[1].tolist()),
        amounts.tolist(), batch.currencies,
    )  # fmt: skip


def _known(score: float) -> float | None:
    return score if score == score else None
