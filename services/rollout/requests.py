"""Sends a signed request to the rollout process, waits for its answer, and for the record that follows from it."""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from models.evidence.files import pack_hash
from models.rollout.transitions import Action, RolloutRequest
from streams.access.audit_chain import NoEntry, opened
from streams.access.directory import read_directory
from streams.access.identity import Identity, acting
from streams.access.signatures import Forged, signed
from streams.access.signed_record import headers, received
from streams.contracts.audit import AuditEntry
from streams.contracts.decoding import RecordDecoder
from streams.contracts.rollout import RolloutRecord
from streams.contracts.text.json_encoding import encode
from streams.log.rollouts.verified import verified_record
from streams.log.topics import AUDIT, ROLLOUT_REQUESTS, ROLLOUTS
from streams.runtime.kafka.clients import (
    DeliveryError,
    flush,
    is_record,
    new_consumer,
    new_producer,
    watermarks,
)
from streams.runtime.settings import Settings

decode_request = RecordDecoder(RolloutRequest)
ACKNOWLEDGED_S = 20.0
ANSWER_S = 20.0


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
    settings: Settings, action: Action, model: str, version: str | None, *, by: str | None = None, why: str,
    now: datetime, person: str | None = None, plan: str | None = None, evidence: str | None = None,
    timeout_s: float = ANSWER_S,
) -> dict[str, Any]:  # fmt: skip
    """Send a request (acknowledged within ``ACKNOWLEDGED_S``), then wait for its answer and the record that follows.

    Args:
        person: who signs (``streams.access.identity.acting``). ``by``: the name to record; default: the same.
        plan: of a rollout, a TOML text; None: the built-in plan.
        evidence: hash of the evidence pack that an approval or a rollout rests on; default: of the pack as it lies beside the bundle.

    Returns:
        the answer: a RolloutRecord as JSON object, or for the action reject an object with ``state`` "rejected".

    Raises:
        AccessDenied, AccessError: the person is not known, or the private key is not here.
        RolloutRefused: the rules, the signer's role or the bundle's verification refused the request.
        RolloutTimeout: Kafka did not acknowledge the request, or no answer came within ``timeout_s`` after that.
        InvalidEvent: a part of it is too long; nothing was sent.
    """
    identity = acting(settings.access_dir, person, now)
    if action in ("approve", "rollout") and evidence is None and version is not None:
        evidence = pack_hash(settings.bundles_dir, model, version)
    request = RolloutRequest(
        request_id=uuid.uuid4().hex,
        action=action,
        model=model,
        version=version,
        by=by or identity.name,
        why=why,
        requested_at=now,
        plan=plan,
        evidence=evidence,
    )
    # what the process would refuse without an answer
    decode_request(encode(request))
    deadline = time.monotonic() + ACKNOWLEDGED_S
    consumer = new_consumer(
        settings.kafka, f"rollout-answer-{request.request_id[:8]}", **{"fetch.wait.max.ms": 20}
    )
    try:
        _seek_to_end(consumer, deadline, settings.kafka)
        _send(settings, identity, request, deadline)
        return _wait(settings, consumer, request, time.monotonic() + timeout_s, timeout_s)
    finally:
        consumer.close()


def _send(settings: Settings, identity: Identity, request: RolloutRequest, deadline: float) -> None:
    producer = new_producer(
        settings.kafka, "tollgate-cli", **{"message.timeout.ms": int(ACKNOWLEDGED_S * 1000)}
    )
    record = signed(identity, ROLLOUT_REQUESTS.name, encode(request))
    producer.produce(ROLLOUT_REQUESTS.name, record.value, request.model.encode(), headers=headers(record))
    try:
        flush(producer, max(0.1, deadline - time.monotonic()))
    except DeliveryError as error:
        raise RolloutTimeout(f"Kafka at {settings.kafka} did not acknowledge the request: {error}") from error


def _seek_to_end(consumer: Consumer, deadline: float, kafka: str) -> None:
    places = []
    for topic in (AUDIT.name, ROLLOUTS.name):
        try:
            left_s = max(0.1, deadline - time.monotonic())
            _, end = watermarks(consumer, TopicPartition(topic, 0), left_s)
        except KafkaException as error:
            raise RolloutTimeout(f"Kafka at {kafka} cannot be reached: {error}") from error
        places.append(TopicPartition(topic, 0, end))
    consumer.assign(places)


def _wait(
    settings: Settings, consumer: Consumer, request: RolloutRequest, deadline: float, timeout_s: float
) -> dict[str, Any]:
    """Only what the rollout process signed counts, on both topics."""
    answer: AuditEntry | None = None
    newest = 0
    while time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is None or not is_record(consumer, message):
            continue
        if message.topic() == ROLLOUTS.name:
            record = _record(settings, message)
            newest = max(
                newest, record.sequence if record is not None and record.model == request.model else 0
            )
        else:
            answer = _answer(settings, message, request) or answer
        if answer is not None and answer.result == "refused":
            raise RolloutRefused(answer.detail.get("reason", "refused"))
        if answer is not None and newest >= answer.detail.get("sequence", 0):
            return answer.detail
    raise RolloutTimeout(
        f"no answer to {request.action} within {timeout_s:g} s: is the rollout process running? (`tollgate status`)"
    )


def _answer(settings: Settings, message: Message, request: RolloutRequest) -> AuditEntry | None:
    try:
        entry = opened(message.value() or b"", read_directory(settings.access_dir))
    except NoEntry:
        return None
    return entry if entry.request_id == request.request_id else None


def _record(settings: Settings, message: Message) -> RolloutRecord | None:
    try:
        return verified_record(received(message), read_directory(settings.access_dir))
    except Forged:
        return None
