"""Partitions that stand: records wait on them, and the group that reads them does not move on. Without those, no payment is decided."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

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
    before = {place: found for place, found in positions(settings).items() if found.late}
    if not before:
        return []
    time.sleep(pause)
    after = positions(settings)
    stuck = [place for place, found in before.items() if _stands(found, after.get(place))]
    return [_problem(settings, place, after[place]) for place in stuck]


def _stands(before: Waiting, after: Waiting | None) -> bool:
    return after is not None and after.position == before.position


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
        with _reader(settings, group) as consumer, contextlib.suppress(KafkaException):
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
def _reader(settings: Settings, group: str) -> Iterator[Consumer]:
    # it never subscribes, so it does not join the group
    consumer = log_reader(settings.kafka, **{"group.id": group, "log_level": 0})
    try:
        yield consumer
    finally:
        consumer.close()
