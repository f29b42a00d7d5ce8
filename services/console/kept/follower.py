"""Follows `decisions` and `outcomes` on Kafka, and hands them to the taker. Alone in its thread.

It belongs to no group: positions are kept beside what was taken, in one transaction, so a crash takes nothing twice.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from services.console.kept.taking import Taker
from streams.log.topics import DECISIONS, OUTCOMES
from streams.runtime.kafka.broker_loss import BrokersForgotten, remembering
from streams.runtime.kafka.clients import is_record, watermarks
from streams.runtime.kafka.log_reader import LedgerUnreachable, log_reader, whole_log
from streams.runtime.metrics import CONSOLE_BEHIND
from streams.runtime.settings import load_settings

logger = logging.getLogger(__name__)
TOPICS = (DECISIONS.name, OUTCOMES.name)
#: of a log that is followed for the first time, so many of the newest records of each partition are taken
FIRST_RECORDS = 100_000
BATCH, WAIT_S = 10_000, 0.2
#: pause after an error of Kafka or of the disk
PAUSE_S = 2.0
#: how often the ends of the partitions are compared with the positions
LOOK_EVERY_S = 1.0
ANSWER_WITHIN_S = 10.0
#: younger decisions that wait are on their way
AS_USUAL_S = 2.0


class Standing(NamedTuple):
    """How far the console is behind `decisions`. ``seconds``: age of the newest decision taken, 0 when none waits."""

    records: int = 0
    seconds: float = 0.0
    #: what stops it, in words; empty while it follows
    problem: str = "it has not begun to follow Kafka"


class Follower:
    """``run`` follows until stopped; ``standing`` may be read by any thread."""

    def __init__(self, home: str, taker: Taker) -> None:
        self._home, self._taker = home, taker
        self._looked_s = 0.0
        self.standing = Standing()

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop`` is set. Kafka and disk may be away: it says so and tries again."""
        while not stop.is_set():
            try:
                self._follow(stop)
            except (KafkaException, LedgerUnreachable, BrokersForgotten, sqlite3.Error) as error:
                logger.warning("decisions are not followed, next try in %g s: %s", PAUSE_S, error)
                self.standing = self.standing._replace(problem=str(error))
                stop.wait(PAUSE_S)

    def _follow(self, stop: threading.Event) -> None:
        # read again: a mock broker chooses its address when it starts
        bootstrap = load_settings(self._home).kafka
        # it lets the broker gather for 0.1 s: each fetch costs both of them
        consumer = log_reader(bootstrap, **remembering())
        try:
            places = self._places(bootstrap)
            consumer.assign(places)
            logger.info("following from %s", {f"{at.topic}[{at.partition}]": at.offset for at in places})
            while not stop.is_set():
                messages = [m for m in consumer.consume(BATCH, WAIT_S) if is_record(consumer, m)]
                # also without any: what is too old goes
                self._taker.take(messages, time.time())
                if time.monotonic() - self._looked_s > LOOK_EVERY_S:
                    self._looked_s = time.monotonic()
                    self.standing = self._look(consumer, places)
        finally:
            consumer.close()

    def _places(self, bootstrap: str) -> list[TopicPartition]:
        """Where to begin: at the kept positions, in a log that they are not in at its first record."""
        first, end = whole_log(bootstrap, TOPICS)
        out = []
        for topic in TOPICS:
            if not end[topic]:
                raise LedgerUnreachable(f"there is no topic {topic} yet")
            for partition, last in end[topic].items():
                begin = self._taker.positions.get((topic, partition))
                if begin is None:
                    begin = max(first[topic][partition], last - FIRST_RECORDS)
                elif begin > last:
                    logger.warning(
                        "%s[%d] began again: %d records were taken, it has %d", topic, partition, begin, last
                    )
                    begin = first[topic][partition]
                out.append(TopicPartition(topic, partition, max(begin, first[topic][partition])))
        return out

    def _look(self, consumer: Consumer, places: list[TopicPartition]) -> Standing:
        behind = 0
        for at in consumer.position([TopicPartition(p.topic, p.partition) for p in places]):
            if at.topic == DECISIONS.name:
                _, end = watermarks(consumer, at, ANSWER_WITHIN_S)
                # before its first record a partition has no position
                taken = (
                    at.offset if at.offset >= 0 else self._taker.positions.get((at.topic, at.partition), end)
                )
                behind += max(0, end - taken)
        CONSOLE_BEHIND.set(behind)
        age_s = time.time() - self._taker.newest_ms / 1000 if behind and self._taker.newest_ms else 0.0
        if age_s < AS_USUAL_S:
            # what comes between two looks
            return Standing(0, 0.0, "")
        return Standing(behind, round(age_s, 1), "")
