"""A Kafka transaction that is never committed: what comes after it on its partitions waits, so its time is bounded."""

from __future__ import annotations

from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from streams.log.topics import TRANSACTIONS
from streams.runtime.kafka.connection import connection
from streams.runtime.settings import Settings
from tests.attack.attacker import writer
from tests.attack.bystanders import card_on, payment
from tests.attack.registry import Finding, attack

#: Kafka's own limit, which would hold payments back for a quarter of an hour
LONGEST_MS = 900_000


@attack("a transaction that never ends")
def open_transaction(settings: Settings) -> Finding:
    """With Kafka's longest time the broker refuses it; on a secured stack nobody's rights include transactions."""
    refused = _error_of(_begun, settings, LONGEST_MS)
    wanted = (
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        if settings.secure
        else KafkaError.INVALID_TRANSACTION_TIMEOUT
    )
    return Finding(refused == wanted, f"the broker answers with error {refused}")


def _begun(settings: Settings, timeout_ms: int) -> Producer:
    """A producer with an open transaction on every partition."""
    address: dict[str, Any] = connection(writer(settings, TRANSACTIONS.name))
    producer = Producer({**address, "transactional.id": f"attack-{timeout_ms}", "transaction.timeout.ms": timeout_ms, "log_level": 0})  # fmt: skip
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(settings.partitions):
        paid = payment(card_on(partition, settings.partitions))
        producer.produce(TRANSACTIONS.name, msgspec.json.encode(paid), paid["card_id"], partition)
    producer.flush(30)
    return producer


def _error_of(call: Any, *args: Any) -> int | None:
    try:
        call(*args)
    except KafkaException as error:
        return int(error.args[0].code())
    return None
