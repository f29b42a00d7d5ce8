"""The honest traffic beside an attack: one payment for each partition, and whether all are decided."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from features.store.partitions import partitions_of
from streams.log.topics import DECISIONS, TRANSACTIONS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.attack.attacker import writer
from tests.support.running import ends_of, read_topic

#: a worker that ends on a record three times before it sets the record aside needs this long on a busy machine
DECIDED_WITHIN_S = 120.0


def payment(card_id: str = "card-bystander", **changes: Any) -> dict[str, Any]:
    """A transaction that fits, made now."""
    return {
        "transaction_id": f"by-{uuid.uuid4().hex[:12].translate(str.maketrans('0123456789', 'ghijklmnop'))}",
        "event_time": datetime.now(UTC).isoformat(),
        "card_id": card_id,
        "merchant_id": "m-bystander",
        "amount_minor": 1299,
        "currency": "EUR",
        **changes,
    }


def card_on(partition: int, partitions: int) -> str:
    """A card whose records belong on a partition."""
    names = [f"card-by-{'abcdefghijklmnopqrstuvwxyz'[n % 26]}{n // 26}" for n in range(64 * partitions)]
    return names[partitions_of(names, partitions).tolist().index(partition)]


def send_to_all(settings: Settings) -> dict[str, int]:
    """Send a payment to each partition; their partitions by transaction id."""
    sent_to: dict[str, int] = {}
    producer = new_producer(writer(settings, TRANSACTIONS.name), "bystander")
    for partition in range(settings.partitions):
        sent = payment(card_on(partition, settings.partitions))
        sent_to[sent["transaction_id"]] = partition
        producer.produce(TRANSACTIONS.name, key=sent["card_id"], value=msgspec.json.encode(sent))
    flush(producer, 30)
    return sent_to


def undecided(settings: Settings, within_s: float = DECIDED_WITHIN_S) -> list[int]:
    """The partitions on which a payment sent now is not decided within ``within_s``; empty: decisions go on everywhere."""
    start = ends_of(settings, DECISIONS.name, settings.partitions)
    waiting = send_to_all(settings)
    until = time.monotonic() + within_s
    while waiting and time.monotonic() < until:
        for record in read_topic(settings, DECISIONS.name, start):
            waiting.pop(_id_of(record.value()), None)
        time.sleep(0.5 if waiting else 0)
    return sorted(waiting.values())


def _id_of(value: bytes | None) -> str:
    """The transaction's id in a decision; "" for what an attack may have written there."""
    try:
        return str(msgspec.json.decode(value or b"", type=dict[str, Any]).get("transaction_id", ""))
    except (ValueError, RecursionError):
        return ""
