"""Forwards misplaced records: those found on another partition than their card's."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Producer

from streams.log.records import HEADER_APPENDED_MS
from streams.log.topics import Topic
from streams.runtime.metrics import FORWARDED

HEADER_FORWARDED = "tollgate-forwarded-from"  # "partition:offset" where a misplaced record was found


def forward(producer: Producer, topic: Topic, record: Any, card_id: str, partition: int) -> None:
    """Produce a misplaced record unchanged to its card's ``partition``, and count it.

    A header keeps its first append time, so that its deadline does not start again.
    """
    headers = dict(record.headers or ())
    headers.setdefault(HEADER_APPENDED_MS, str(record.timestamp).encode())
    headers[HEADER_FORWARDED] = f"{record.partition}:{record.offset}".encode()
    producer.produce(
        topic.name, key=card_id, partition=partition, value=record.value, headers=list(headers.items())
    )
    FORWARDED.inc()
