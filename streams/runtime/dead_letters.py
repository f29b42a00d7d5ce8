"""Dead letters: refused records, kept whole with their source and the reason, for a person to correct and replay.

Value: JSON with reason, field, text, source topic, partition and offset, first_seen, and the original bytes in base64.
Card numbers in the original bytes are masked: no topic holds them in clear (design, Transaction).
"""

from __future__ import annotations

import base64
import logging
import time
from typing import Any

import msgspec
from confluent_kafka import Producer

from features.transaction import from_ms
from streams.contracts.card_numbers import mask_card_numbers
from streams.contracts.invalid_event import InvalidEvent
from streams.log.topics import DEAD_LETTERS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.metrics import DEAD_LETTERS_TOTAL

logger = logging.getLogger(__name__)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One refused record. ``reason`` is a short word for metrics, ``text`` a sentence for people."""

    reason: str
    field: str
    text: str
    source_topic: str
    source_partition: int
    source_offset: int
    first_seen: str
    original: str | None

    def original_bytes(self) -> bytes | None:
        """The record's value as it arrived (card numbers masked); None for a record without a value."""
        return None if self.original is None else base64.b64decode(self.original)


_decoder = msgspec.json.Decoder(DeadLetter)


def decode_dead_letter(raw: bytes) -> DeadLetter:
    """Raises: msgspec.DecodeError when the bytes are not a dead letter."""
    letter: DeadLetter = _decoder.decode(raw)
    return letter


def dead_letter(record: Any, error: InvalidEvent, now_ms: int) -> DeadLetter:
    """The dead letter of a consumed record (``topic``, ``partition``, ``offset``, ``value``)."""
    original = None if record.value is None else base64.b64encode(_masked(record.value, error)).decode()
    return DeadLetter(
        reason=error.reason,
        field=error.field,
        text=mask_card_numbers(str(error).encode()).decode(),
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        first_seen=from_ms(now_ms).isoformat().replace("+00:00", "Z"),
        original=original,
    )


def _masked(value: bytes, error: InvalidEvent) -> bytes:
    """The original bytes with card numbers masked; one hidden in JSON escapes is found by decoding them."""
    masked = mask_card_numbers(value)
    if error.reason == "card_number" and masked == value:
        return mask_card_numbers(msgspec.json.encode(msgspec.json.decode(value)))
    return masked


def send_dead_letter(producer: Producer, letter: DeadLetter) -> None:
    """Produce one dead letter; the caller flushes with the rest of its chunk."""
    DEAD_LETTERS_TOTAL.labels(letter.source_topic, letter.reason).inc()
    producer.produce(DEAD_LETTERS.name, key=letter.source_topic, value=msgspec.json.encode(letter))


class DeadLetters:
    """Sends dead letters for consumers that have no producer; it keeps one producer and flushes on every call."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self._producer = new_producer(bootstrap, f"{client_id}-dead-letters")

    def send(self, record: Any, error: InvalidEvent, timeout_s: float = 30.0) -> None:
        """Send the dead letter of one refused record; returns when the broker has acknowledged it.

        Raises:
            DeliveryError: it was not acknowledged within ``timeout_s``.
        """
        send_dead_letter(self._producer, dead_letter(record, error, int(time.time() * 1000)))
        flush(self._producer, timeout_s)
