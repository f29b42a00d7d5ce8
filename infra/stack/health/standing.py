"""Stalled partitions: records wait on them, and the group that reads them makes no progress, so no payment is decided."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from infra.stack.health.problem import Problem
from streams.log import topics
from streams.runtime.kafka.log_reader import log_reader
from streams.runtime.settings import Settings
from streams.runtime.suspects import Handling, Suspects

Read = tuple[str, topics.Topic, bool]

#: what each group reads, and whether decisions wait for it
READS: tuple[Read, ...] = (
    ("processor", topics.TRANSACTIONS, True),
    ("processor", topics.ENTITIES, False),
    ("scoring", topics.FEATURES, True),
    ("labels", topics.LABELS, False),
    ("labels", topics.DECISIONS, False),
    ("rollout", topics.ROLLOUT_REQUESTS, False),
    ("trainer", topics.RETRAINING, False),
)
#: groups commit every second: one that has not moved for this long, with records behind its position, stands
LOOK_AGAIN_S = 4.0
#: records that came later than this are not looked at: they may be on their way
ON_THEIR_WAY_S = 3.0
ANSWER_WITHIN_S = 3.0

Place = tuple[str, str, int]


@dataclass(frozen=True)
class Waiting:
    """A group's position on one partition, where the partition ends, and where the records begin that may be on their way."""

    position: int
    end: int
    recent: int

    @property
    def late(self) -> bool:
        """Whether a record waits that is not on its way."""
        return self.position < min(self.recent, self.end)


def standing(settings: Settings, pause: float = LOOK_AGAIN_S) -> list[Problem]:
    """The partitions on which a group stands. Takes ``pause`` seconds if records have waited for long somewhere, else a moment."""
    written, found = _written(settings), positions(settings)
    before, held = {place: at for place, at in found.items() if at.late}, _held(written, found)
    if not before and not held:
        return []
    time.sleep(pause)
    written, after = _written(settings), positions(settings)
    stuck = [place for place, at in before.items() if _stands(at, after.get(place))]
    out = [
        _held_back(*place, span)
        for place, span in _held(written, after).items()
        if held.get(place, (-1,))[0] == span[0]
    ]
    stuck = [place for place in stuck if _holds_a_record(settings, place, after[place])]
    return [*out, *(_problem(settings, place, after[place]) for place in stuck)]


def _stands(before: Waiting, after: Waiting | None) -> bool:
    return after is not None and after.position == before.position


def _holds_a_record(settings: Settings, place: Place, at: Waiting) -> bool:
    """Whether a reader gets anything there: the mark that ends a producer's transaction takes an offset, and no reader gets it."""
    until = time.monotonic() + ANSWER_WITHIN_S
    with _reader(settings, **{"enable.partition.eof": True}) as consumer:
        consumer.assign([TopicPartition(place[1], place[2], at.position)])
        while time.monotonic() < until:
            message = consumer.poll(0.1)
            if message is not None and (error := message.error()) is not None:
                # one that does not decompress is a record, too
                return bool(error.code() != KafkaError._PARTITION_EOF)
            if message is not None:
                return bool(message.offset() < at.end)
    return True


def _written(settings: Settings) -> dict[tuple[str, int], int]:
    """Where each partition ends, with what belongs to open transactions of producers; without those that do not answer now."""
    found: dict[tuple[str, int], int] = {}
    with _reader(settings, **{"isolation.level": "read_uncommitted"}) as consumer:
        with contextlib.suppress(KafkaException):
            for topic in {topic.name: topic for _, topic, _ in READS}.values():
                for partition in range(topic.partitions or settings.partitions):
                    place = TopicPartition(topic.name, partition)
                    found[topic.name, partition] = consumer.get_watermark_offsets(
                        place, timeout=ANSWER_WITHIN_S
                    )[1]
    return found


def _held(
    written: dict[tuple[str, int], int], found: dict[Place, Waiting]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Where readers do not get what was ``written`` before they were looked at: the first offset held back, and the end."""
    ends = {(topic, partition): at.end for (_, topic, partition), at in found.items()}
    return {place: (end, written[place]) for place, end in ends.items() if end < written.get(place, end)}


def _held_back(topic: str, partition: int, span: tuple[int, int]) -> Problem:
    text = (
        f"an open transaction of a producer holds {topic}[{partition}] back from offset {span[0]}: {span[1] - span[0]:,} records wait until "
        "it is committed or its time is over (`transaction.timeout.ms`; a minute at most on a Kafka of the stack's own): end that producer"
    )
    stops = topic == topics.TRANSACTIONS.name
    return Problem(text, stops, "DecisionsStopped" if stops else "ConsumerLagGrowing")


def _problem(settings: Settings, place: Place, waiting: Waiting) -> Problem:
    group, topic, partition = place
    text = (
        f"{group} stands on {topic}[{partition}] at offset {waiting.position}: "
        f"{waiting.end - waiting.position:,} records wait"
    )
    suspected = _suspected(settings, place)
    if suspected is not None and suspected.times:
        text += (
            f"; its worker has ended {suspected.times} times on the records from {suspected.first} to {suspected.last - 1}. "
            f"A record that ends it three times is set aside by itself; `tollgate skip {topic} {partition} "
            f"{suspected.first} --why TEXT` does it at once"
        )
    else:
        text += f": see {settings.log_dir}"
    stops = any(name == group and read.name == topic and needed for name, read, needed in READS)
    return Problem(text, stops, "DecisionsStopped" if stops else "ConsumerLagGrowing")


def _suspected(settings: Settings, place: Place) -> Handling | None:
    group, topic, partition = place
    return Suspects.read(settings.run_dir / "handling", group, (topic, partition))


def positions(settings: Settings, reads: Sequence[Read] = READS) -> dict[Place, Waiting]:
    """The groups' positions by group, topic and partition; without those on which the group has never committed, or that do not answer now."""
    found: dict[Place, Waiting] = {}
    for group in dict.fromkeys(name for name, _, _ in reads):
        with _reader(settings, **{"group.id": group}) as consumer, contextlib.suppress(KafkaException):
            places = [
                TopicPartition(topic.name, partition)
                for name, topic, _ in reads
                if name == group
                for partition in range(topic.partitions or settings.partitions)
            ]
            since_ms = int((time.time() - ON_THEIR_WAY_S) * 1000)
            times = [TopicPartition(place.topic, place.partition, since_ms) for place in places]
            recent = consumer.offsets_for_times(times, timeout=ANSWER_WITHIN_S)
            for at, later in zip(consumer.committed(places, timeout=ANSWER_WITHIN_S), recent, strict=True):
                low, end = consumer.get_watermark_offsets(at, timeout=ANSWER_WITHIN_S)
                # a group that has committed nothing begins at the first record
                position = max(at.offset if at.offset >= 0 else low, low)
                # negative: no record came since
                found[group, at.topic, at.partition] = Waiting(
                    position, end, later.offset if later.offset >= 0 else end
                )
    return found


@contextlib.contextmanager
def _reader(settings: Settings, **properties: str | bool) -> Iterator[Consumer]:
    # it never subscribes, so it does not join a group
    consumer = log_reader(settings.kafka, log_level=0, **properties)
    try:
        yield consumer
    finally:
        consumer.close()
