"""Read `rollouts`: which bundle is served now, and call back when that changes. Only the rollout process writes it."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.rollout import RolloutRecord, decode_rollout
from streams.log.topics import ROLLOUTS
from streams.runtime.kafka.broker_loss import BrokersForgotten, remembering
from streams.runtime.kafka.clients import is_record, new_consumer
from streams.runtime.passed_over import pass_over
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)


class RolloutsUnreachable(Exception):
    """The topic could not be read to its end in time."""

    exit_code = 3


def newest_rollout(settings: Settings, model: str, *, timeout_s: float = 10.0) -> RolloutRecord | None:
    """The record in force for a model; None if the model has none.

    Raises:
        RolloutsUnreachable: the topic could not be read to its end within ``timeout_s``.
    """
    newest: RolloutRecord | None = None
    for message in read_all(settings, ROLLOUTS.name, timeout_s=timeout_s):
        record = parse_rollout(message)
        if (
            record is not None
            and record.model == model
            and (newest is None or record.sequence >= newest.sequence)
        ):
            newest = record
    return newest


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


def follow_rollouts(
    settings: Settings, stop: threading.Event, callback: Callable[[RolloutRecord], None]
) -> threading.Thread:
    """Call back with the newest record of each model, then with every later record, until ``stop`` is set.

    An exception of the callback is logged, and the feed goes on. While the broker is away, the client reconnects.

    Returns:
        the started thread (daemon).
    """
    thread = threading.Thread(target=_follow, args=(settings, stop, callback), name="rollouts", daemon=True)
    thread.start()
    return thread


def parse_rollout(message: Message) -> RolloutRecord | None:
    """The record of a Kafka message; None (counted and logged) where it does not parse."""
    try:
        return decode_rollout(message.value())
    except InvalidEvent as error:
        pass_over(message, error)
        return None


def _follow(settings: Settings, stop: threading.Event, callback: Callable[[RolloutRecord], None]) -> None:
    told: dict[str, int] = {}
    while not stop.is_set():
        try:
            _follow_with(_reader(settings, **remembering()), stop, callback, told)
        except BrokersForgotten as error:
            logger.error("following rollouts with a new Kafka client: %s", error)


def _follow_with(
    consumer: Consumer, stop: threading.Event, callback: Callable[[RolloutRecord], None], told: dict[str, int]
) -> None:
    newest: dict[str, RolloutRecord] = {}
    try:
        consumer.assign([TopicPartition(ROLLOUTS.name, 0, 0)])
        while not stop.is_set():
            message = consumer.poll(0.2)
            if message is not None:
                record = parse_rollout(message) if is_record(consumer, message) else None
                if record is not None and record.sequence >= told.get(record.model, 0):
                    newest[record.model] = record
                continue
            # no more records for now: what was gathered is the newest of each model
            for model, record in newest.items():
                told[model] = record.sequence
                _tell(callback, record)
            newest.clear()
    finally:
        consumer.close()


def _tell(callback: Callable[[RolloutRecord], None], record: RolloutRecord) -> None:
    try:
        callback(record)
    except Exception:  # the feed must survive a refused bundle, which the callback's owner counts
        logger.exception("rollout %s of %s was not applied", record.sequence, record.model)


def _reader(settings: Settings, **more: Any) -> Consumer:
    # partitions are assigned by hand and nothing is committed: the group's name only has to be unique
    group = f"rollouts-reader-{uuid.uuid4().hex[:8]}"
    return new_consumer(settings.kafka, group, **{"fetch.wait.max.ms": 50, **more})
