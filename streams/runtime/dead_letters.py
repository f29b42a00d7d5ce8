"""Dead letters: refused records, kept with their source and the reason, for a person to correct and replay.

Value: JSON with reason, field, text, source topic, partition and offset, first_seen, and the original bytes in base64.
Card numbers in the original bytes are masked: no topic holds them in clear (design, Transaction). Of an original longer than
MAX_ORIGINAL_BYTES its beginning is kept, with the size and hash of the whole: a dead letter always fits into a record.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from typing import Annotated, Any, NamedTuple

import msgspec
from confluent_kafka import Message, Producer
from msgspec import Meta

from features.transaction import from_ms, rfc3339
from streams.contracts.decoding import RecordDecoder
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.card_numbers import mask_card_numbers, mask_text
from streams.log.topics import DEAD_LETTERS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.metrics import DEAD_LETTERS_TOTAL

logger = logging.getLogger(__name__)

#: four times the longest transaction. In base64 it takes 88 kB, far below the megabyte that brokers and producers allow a record
MAX_ORIGINAL_BYTES = 65_536
#: longest ``text`` and ``field``, characters: they may quote the record
MAX_TEXT = 1_000


class Consumed(NamedTuple):
    """A consumed record in the form that ``dead_letter`` takes."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


def consumed(message: Message) -> Consumed:
    """A record that a consumer of librdkafka got."""
    return Consumed(message.topic(), message.partition(), message.offset(), message.value())


class Kept(NamedTuple):
    """What a dead letter keeps of a record's value; see the fields of ``DeadLetter``."""

    original: str | None
    original_size: int | None
    original_sha256: str | None


def kept_of(value: bytes | None) -> Kept:
    """What is kept of a value: the same of the same bytes."""
    if value is None:
        return Kept(None, None, None)
    masked = mask_card_numbers(value)
    original = base64.b64encode(masked[:MAX_ORIGINAL_BYTES]).decode()
    if len(masked) <= MAX_ORIGINAL_BYTES:
        return Kept(original, None, None)
    return Kept(original, len(masked), hashlib.sha256(masked).hexdigest())


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One refused record. ``reason`` is a short word for metrics, ``text`` a sentence for people."""

    reason: str
    field: str
    text: str
    source_topic: str
    source_partition: Annotated[int, Meta(ge=0, lt=2**31)]
    source_offset: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    first_seen: str
    original: str | None
    #: of the whole original, if only its beginning is kept; else None. The hash is of the masked bytes: a masked number could be
    #: found by trying all against the hash of what it was
    original_size: int | None = None
    original_sha256: str | None = None

    @property
    def kept(self) -> Kept:
        """What it says that the record was."""
        return Kept(self.original, self.original_size, self.original_sha256)

    @property
    def truncated(self) -> bool:
        """Whether only the beginning of the original is kept."""
        return self.original_size is not None

    def original_bytes(self) -> bytes | None:
        """The record's value as it arrived (card numbers masked), its beginning if ``truncated``; None without a value."""
        return None if self.original is None else base64.b64decode(self.original)


#: its longest value: an original in base64, and texts
decode_dead_letter = RecordDecoder(DeadLetter, max_bytes=1_000_000)


def dead_letter(record: Any, error: InvalidEvent, now_ms: int) -> DeadLetter:
    """The dead letter of a consumed record (``topic``, ``partition``, ``offset``, ``value``)."""
    return DeadLetter(
        reason=error.reason,
        field=_shown(error.field),
        text=_shown(str(error)),
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        first_seen=rfc3339(from_ms(now_ms)),
        **kept_of(record.value)._asdict(),
    )


def _shown(text: str) -> str:
    """What may quote the record, as it may be read: short, in UTF-8, card numbers masked."""
    return mask_text(text.encode("utf-8", "replace").decode())[:MAX_TEXT]


def send_dead_letter(producer: Producer, letter: DeadLetter) -> None:
    """Produce one dead letter; the caller flushes with the rest of its chunk."""
    DEAD_LETTERS_TOTAL.labels(letter.source_topic, letter.reason).inc()
    producer.produce(DEAD_LETTERS.name, key=letter.source_topic, value=msgspec.json.encode(letter))


class DeadLetters:
    """Sends dead letters for consumers that have no producer; it makes one for the first and flushes on every call."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self._bootstrap, self._client_id = bootstrap, f"{client_id}-dead-letters"
        self._producer: Producer | None = None

    def send(self, record: Any, error: InvalidEvent, timeout_s: float = 30.0) -> None:
        """Send the dead letter of one refused record; returns when the broker has acknowledged it.

        Raises:
            DeliveryError: it was not acknowledged within ``timeout_s``.
        """
        if self._producer is None:
            self._producer = new_producer(self._bootstrap, self._client_id)
        send_dead_letter(self._producer, dead_letter(record, error, int(time.time() * 1000)))
        flush(self._producer, timeout_s)
