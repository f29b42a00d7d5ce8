"""Records that a reader cannot use and leaves out: counted and logged. For readers that keep no dead letter, because many read the same."""

from __future__ import annotations

import logging

from confluent_kafka import Message

from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.text.card_numbers import mask_card_numbers
from streams.runtime.metrics import PASSED_OVER

logger = logging.getLogger(__name__)


def pass_over(message: Message, error: InvalidEvent) -> None:
    """Count and log a record that is left out. The text of ``error`` may quote it: card numbers are masked."""
    PASSED_OVER.labels(message.topic(), error.reason).inc()
    text = mask_card_numbers(str(error).encode("utf-8", "replace")).decode()[:300]
    place = f"{message.topic()}[{message.partition()}] offset {message.offset()}"
    logger.error("%s is left out (%s): %s", place, error.reason, text)
