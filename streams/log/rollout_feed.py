"""Reading `rollouts`: which bundle is served now, and being told when that changes. Writing it is the rollout process's."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.contracts.rollout import RolloutRecord
from streams.log.topics import ROLLOUTS
from streams.runtime.kafka.broker_loss import BrokersForgotten, remembering
from streams.runtime.kafka.clients import new_consumer
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(RolloutRecord)


class RolloutsUnreachable(Exception):
    """The broker did not give the topic to its end in time."""

    exit_code = 3


def newest_rollout(settings: Settings, model: str, *, timeout_s: float = 10.0) -> RolloutRecord | None:
    """The record that holds now for a model; None where nothing was ever rolled out.

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


def read_all(settings: Settings, topic: str, *, timeout_s: float) -> Iterator[Message]:
    """All records of a one-partition topic up to its end as of now.

    Raises:
        RolloutsUnreachable: not to the end within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    consumer = _reader(settings, **{"enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None:
                continue
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                return
        raise RolloutsUnreachable(
            f"{topic} on {settings.kafka} was not read to its end within {timeout_s:g} s"
        )
    finally:
        consumer.close()


def follow_rollouts(
    settings: Settings, stop: threading.Event, callback: Callable[[RolloutRecord], None]
) -> threading.Thread:
    """Call back with the newest record of each model, then with every later one, until ``stop`` is set.

    A callback that raises is logged and does not end the following. While the broker is away the client reconnects.

    Returns:
        the started thread (daemon).
    """
    thread = threading.Thread(target=_follow, args=(settings, stop, callback), name="rollouts", daemon=True)
    thread.start()
    return thread


def parse_rollout(message: Message) -> RolloutRecord | None:
    """The record of a Kafka message; None (logged) where it does not parse."""
    value = message.value()
    if value is None:
        return None
    try:
        return _decoder.decode(value)
    except msgspec.MsgspecError as error:
        logger.error("rollouts offset %s does not parse: %s", message.offset(), error)
        return None


def _follow(settings: Settings, stop: threading.Event, callback: Callable[[RolloutRecord], None]) -> None:
    told: dict[str, int] = {}
    while not stop.is_set():
        try:
            _follow_with(_reader(settings, **remembering()), stop, callback, told)
        except BrokersForgotten as error:
            logger.error("rollouts are followed with a new client of Kafka: %s", error)


def _follow_with(
    consumer: Consumer, stop: threading.Event, callback: Callable[[RolloutRecord], None], told: dict[str, int]
) -> None:
    newest: dict[str, RolloutRecord] = {}
    try:
        consumer.assign([TopicPartition(ROLLOUTS.name, 0, 0)])
        while not stop.is_set():
            message = consumer.poll(0.2)
            if message is not None:
                record = parse_rollout(message) if message.error() is None else None
                if record is not None and record.sequence >= told.get(record.model, 0):
                    newest[record.model] = record
                continue
            # nothing more at hand: what was gathered is the newest
            for model, record in newest.items():
                told[model] = record.sequence
                _tell(callback, record)
            newest.clear()
    finally:
        consumer.close()


def _tell(callback: Callable[[RolloutRecord], None], record: RolloutRecord) -> None:
    try:
        callback(record)
    except Exception:  # the follower must outlive a refused bundle, whose owner counts it
        logger.exception("rollout %s of %s was not applied", record.sequence, record.model)


def _reader(settings: Settings, **more: Any) -> Consumer:
    # assigned by hand and never committed: the group's name only has to be nobody else's
    group = f"rollouts-reader-{uuid.uuid4().hex[:8]}"
    return new_consumer(settings.kafka, group, **{"fetch.wait.max.ms": 50, **more})
