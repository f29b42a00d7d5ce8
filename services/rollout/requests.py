"""Sends a request to the rollout process and waits for its answer."""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from models.rollout.transitions import Action, RolloutRequest
from services.rollout.answers import HEADER_ACCEPTED, HEADER_REQUEST_ID, header
from streams.contracts.invalid_event import InvalidEvent, decode_json
from streams.contracts.json_encoding import encode
from streams.log.topics import ROLLOUT_REQUESTS, ROLLOUTS_AUDIT
from streams.runtime.kafka.clients import (
    DeliveryError,
    flush,
    is_record,
    new_consumer,
    new_producer,
    watermarks,
)
from streams.runtime.passed_over import pass_over
from streams.runtime.settings import Settings

ACKNOWLEDGED_S = 20.0
ANSWER_S = 20.0
_answer_decoder = msgspec.json.Decoder(dict[str, Any])


class RolloutRefused(Exception):
    """The rollout process refused the request; the text gives the reason."""

    exit_code = 1


class RolloutTimeout(Exception):
    """No answer in time: the broker or the rollout process is down. The request may still be applied later."""

    exit_code = 3


def approve(
    settings: Settings, model: str, version: str, *, by: str, why: str, now: datetime
) -> dict[str, Any]:
    """Make a version live that awaits approval; see ``ask``."""
    return ask(settings, "approve", model, version, by=by, why=why, now=now)


def reject(
    settings: Settings, model: str, version: str, *, by: str, why: str, now: datetime
) -> dict[str, Any]:
    """Reject a version that awaits approval; see ``ask``."""
    return ask(settings, "reject", model, version, by=by, why=why, now=now)


def promote(
    settings: Settings, model: str, version: str, *, by: str, why: str, now: datetime
) -> dict[str, Any]:
    """Make a version live again that was approved before; see ``ask``."""
    return ask(settings, "promote", model, version, by=by, why=why, now=now)


def rollback(
    settings: Settings, model: str, version: str | None = None, *, by: str, why: str, now: datetime
) -> dict[str, Any]:
    """Make the previous version, or a named one that was live, live again; see ``ask``."""
    return ask(settings, "rollback", model, version, by=by, why=why, now=now)


def ask(
    settings: Settings, action: Action, model: str, version: str | None, *, by: str, why: str, now: datetime,
    timeout_s: float = ANSWER_S,
) -> dict[str, Any]:  # fmt: skip
    """Send a request (acknowledged within ``ACKNOWLEDGED_S``), then wait for its answer.

    Returns:
        the answer: a RolloutRecord as JSON object, or for the action reject an Answer with ``state`` "rejected".

    Raises:
        RolloutRefused: the transition rules or the bundle's verification refused the request.
        RolloutTimeout: Kafka did not acknowledge the request, or no answer came within ``timeout_s`` after that.
    """
    request = RolloutRequest(
        request_id=uuid.uuid4().hex,
        action=action,
        model=model,
        version=version,
        by=by,
        why=why,
        requested_at=now,
    )
    deadline = time.monotonic() + ACKNOWLEDGED_S
    consumer = new_consumer(
        settings.kafka, f"rollout-answer-{request.request_id[:8]}", **{"fetch.wait.max.ms": 20}
    )
    try:
        _seek_to_end(consumer, deadline, settings.kafka)
        producer = new_producer(
            settings.kafka, "tollgate-cli", **{"message.timeout.ms": int(ACKNOWLEDGED_S * 1000)}
        )
        producer.produce(ROLLOUT_REQUESTS.name, encode(request), model.encode())
        try:
            flush(producer, max(0.1, deadline - time.monotonic()))
        except DeliveryError as error:
            raise RolloutTimeout(
                f"Kafka at {settings.kafka} did not acknowledge the request: {error}"
            ) from error
        return _wait(consumer, request, time.monotonic() + timeout_s, timeout_s)
    finally:
        consumer.close()


def _seek_to_end(consumer: Consumer, deadline: float, kafka: str) -> None:
    try:
        left_s = max(0.1, deadline - time.monotonic())
        _, end = watermarks(consumer, TopicPartition(ROLLOUTS_AUDIT.name, 0), left_s)
    except KafkaException as error:
        raise RolloutTimeout(f"Kafka at {kafka} cannot be reached: {error}") from error
    consumer.assign([TopicPartition(ROLLOUTS_AUDIT.name, 0, end)])


def _wait(consumer: Consumer, request: RolloutRequest, deadline: float, timeout_s: float) -> dict[str, Any]:
    while time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if (
            message is None
            or not is_record(consumer, message)
            or header(message, HEADER_REQUEST_ID) != request.request_id
        ):
            continue
        try:
            answer: dict[str, Any] = decode_json(_answer_decoder, message.value() or b"")
        except InvalidEvent as error:
            # not from the rollout process: it may still answer
            pass_over(message, error)
            continue
        if header(message, HEADER_ACCEPTED) != "1":
            raise RolloutRefused(str(answer.get("reason", "refused")))
        return answer
    raise RolloutTimeout(
        f"no answer to {request.action} within {timeout_s:g} s: is the rollout process running? (`tollgate status`)"
    )
