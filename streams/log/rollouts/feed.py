"""Read `rollouts`: which bundle is served now, and call back when that changes.

Only records that the rollout process signed count, and of those the one with the highest sequence. The rollout process also
keeps the newest record on disk (``streams.log.rollouts.kept``): an old one that is sent again does not undo it.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.access.directory import AccessError, read_directory
from streams.access.signatures import Forged
from streams.access.signed_record import received
from streams.contracts.rollout import RolloutRecord
from streams.log.rollouts.verified import kept_records, verified_record
from streams.log.topics import ROLLOUTS
from streams.runtime.kafka.broker_loss import BrokersForgotten, remembering
from streams.runtime.kafka.clients import is_record, new_consumer
from streams.runtime.metrics import FORGERIES
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)

#: how long to wait where the directory of people and services cannot be read
UNREADABLE_S = 1.0
Callback = Callable[[RolloutRecord], None]


class RolloutsUnreachable(Exception):
    """The topic could not be read to its end in time."""

    exit_code = 3


def newest_rollout(settings: Settings, model: str, *, timeout_s: float = 10.0) -> RolloutRecord | None:
    """The record in force for a model; None if the model has none.

    Raises:
        RolloutsUnreachable: the topic could not be read to its end within ``timeout_s``.
    """
    reader = RolloutReader(settings)
    for message in read_all(settings, ROLLOUTS.name, timeout_s=timeout_s):
        reader.take(message)
    return reader.newest.get(model)


def is_rolled_out(settings: Settings, model: str) -> bool:
    """Whether a bundle of a model is rolled out.

    Raises:
        RolloutsUnreachable: as ``newest_rollout``.
    """
    return newest_rollout(settings, model) is not None


def read_all(settings: Settings, topic: str, *, timeout_s: float) -> Iterator[Message]:
    """All records of a one-partition topic, up to its end at the time of the call.

    Raises:
        RolloutsUnreachable: the end was not reached within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    consumer = _reader(settings, **{"enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None:
                continue
            if is_record(consumer, message):
                yield message
            elif message.error().code() == KafkaError._PARTITION_EOF:
                return
        raise RolloutsUnreachable(
            f"{topic} on {settings.kafka} was not read to its end within {timeout_s:g} s"
        )
    finally:
        consumer.close()


class RolloutReader:
    """Verifies records one by one and keeps the newest of each model."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._refused_to = -1
        self.newest: dict[str, RolloutRecord] = {}
        for record, _ in kept_records(settings.rollout_dir, read_directory(settings.access_dir)):
            self.newest[record.model] = record

    def take(self, message: Message) -> RolloutRecord | None:
        """The record of a Kafka message if it is newer than those before it, else None."""
        if message.value() is None:
            return None
        try:
            record = verified_record(received(message), read_directory(self._settings.access_dir))
        except Forged as error:
            self._refuse(message.offset(), error)
            return None
        before = self.newest.get(record.model)
        if before is not None and record.sequence <= before.sequence:
            return None
        self.newest[record.model] = record
        return record

    def _refuse(self, offset: int, error: Forged) -> None:
        """Count and log a forged record, once however often the topic is read again."""
        if offset > self._refused_to:
            self._refused_to = offset
            FORGERIES.labels(ROLLOUTS.name, error.reason).inc()
            logger.error("rollouts offset %s is not taken: %s", offset, error)


def follow_rollouts(settings: Settings, stop: threading.Event, callback: Callback) -> threading.Thread:
    """Call back with the newest record of each model, then with every later record, until ``stop`` is set.

    An exception of the callback is logged, and the feed goes on. While the broker is away, the client reconnects.

    Returns:
        the started thread (daemon).
    """
    thread = threading.Thread(target=_follow, args=(settings, stop, callback), name="rollouts", daemon=True)
    thread.start()
    return thread


def _follow(settings: Settings, stop: threading.Event, callback: Callback) -> None:
    reader = RolloutReader(settings)
    # the broker may be away: what is on the disk is served until it answers
    waiting = dict(reader.newest)
    while not stop.is_set():
        try:
            _follow_with(_reader(settings, **remembering()), stop, callback, reader, waiting)
        except BrokersForgotten as error:
            logger.error("following rollouts with a new Kafka client: %s", error)
        except AccessError as error:
            logger.error("no rollout can be verified: %s", error)
            stop.wait(UNREADABLE_S)


def _follow_with(
    consumer: Consumer,
    stop: threading.Event,
    callback: Callback,
    reader: RolloutReader,
    waiting: dict[str, RolloutRecord],
) -> None:
    try:
        consumer.assign([TopicPartition(ROLLOUTS.name, 0, 0)])
        while not stop.is_set():
            message = consumer.poll(0.2)
            if message is not None:
                record = reader.take(message) if is_record(consumer, message) else None
                if record is not None:
                    waiting[record.model] = record
                continue
            # no more records for now: what was gathered is the newest of each model
            for record in waiting.values():
                _tell(callback, record)
            waiting.clear()
    finally:
        consumer.close()


def _tell(callback: Callback, record: RolloutRecord) -> None:
    try:
        callback(record)
    except Exception:  # the feed must survive a refused bundle, which the callback's owner counts
        logger.exception("rollout %s of %s was not applied", record.sequence, record.model)


def _reader(settings: Settings, **more: Any) -> Consumer:
    # partitions are assigned by hand and nothing is committed: the group's name only has to be unique
    group = f"rollouts-reader-{uuid.uuid4().hex[:8]}"
    return new_consumer(settings.kafka, group, **{"fetch.wait.max.ms": 50, **more})
