"""Producers and consumers with this project's settings: one place for acknowledgement, partitioning and pacing."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, Producer


class DeliveryError(Exception):
    """The broker did not acknowledge in time; what was sent may or may not be in the log."""


def new_producer(bootstrap: str, client_id: str, **overrides: Any) -> Producer:
    """An idempotent producer that places keys as Java's clients do (murmur2) and keeps order on retry."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "client.id": client_id,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 1,
            "compression.type": "lz4",
            "batch.num.messages": 10000,
            "queue.buffering.max.messages": 500000,
            "message.timeout.ms": 120000,
            "retry.backoff.ms": 10,
            "reconnect.backoff.max.ms": 1000,
            **overrides,
        }
    )


def new_consumer(bootstrap: str, group: str, **overrides: Any) -> Consumer:
    """A consumer that reads committed data only and never commits behind its caller's back."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1500,
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 5,
            "reconnect.backoff.max.ms": 1000,
            **overrides,
        }
    )


def flush(producer: Producer, timeout_s: float) -> None:
    """Wait until all that was produced is acknowledged.

    Raises:
        DeliveryError: some of it was not, within ``timeout_s``.
    """
    left = producer.flush(timeout_s)
    if left:
        raise DeliveryError(f"{left} records were not acknowledged within {timeout_s:g} s")
