"""Sends analysts' labels to `labels` once the time is over in which they can be taken back. Alone in its thread.

What waits lies in SQLite, so a restart sends it. After a crash a label may be sent again, which changes nothing: the newest `label_time`
holds, and it is the same.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from services.console.kept.database import Database
from services.console.kept.rows import one
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.label import Label, parse_label
from streams.contracts.text.json_encoding import encode
from streams.log.topics import LABELS
from streams.runtime.kafka.clients import DeliveryError, flush, new_producer
from streams.runtime.settings import load_settings

logger = logging.getLogger(__name__)
LOOK_S, PAUSE_S = 0.5, 5.0
ACKNOWLEDGED_S = 15.0
MOST = 500

#: sends (key, value) pairs; returns once they are acknowledged. Raises: DeliveryError
Send = Callable[[Sequence[tuple[bytes, bytes]]], None]


def to_kafka(home: str) -> Send:
    """Sends to the stack's `labels`, with a producer of its own each time: labels are few, and an old one may have lost its broker."""

    def send(records: Sequence[tuple[bytes, bytes]]) -> None:
        producer = new_producer(
            load_settings(home).kafka,
            "tollgate-console",
            **{"message.timeout.ms": int(ACKNOWLEDGED_S * 1000)},
        )
        for key, value in records:
            producer.produce(LABELS.name, value, key)
        flush(producer, ACKNOWLEDGED_S)

    return send


def run(database: Database, send: Send, stop: threading.Event) -> None:
    """Send what is due until ``stop`` is set; while Kafka is away labels wait."""
    while not stop.wait(LOOK_S):
        try:
            send_due(database, send, int(time.time() * 1000))
        except (DeliveryError, sqlite3.Error) as error:
            logger.warning("labels wait, next try in %g s: %s", PAUSE_S, error)
            stop.wait(PAUSE_S)


def send_due(database: Database, send: Send, now_ms: int) -> int:
    """Send the labels that can no longer be taken back; returns their number. Raises: DeliveryError: they go on waiting."""
    with database.write() as connection:
        due = connection.execute(
            "SELECT identity, label, by, made_ms FROM waiting_label WHERE sends_ms <= ? ORDER BY made_ms LIMIT ?",
            (now_ms, MOST),
        ).fetchall()
    if not due:
        return 0
    records = []
    for identity, label, by, made_ms in due:
        found = _label(database, identity, label, made_ms)
        if found is None:
            logger.error("a label of %s by %s is not sent: its decision is not kept any more", identity, by)
        else:
            records.append((found.card_id.encode(), encode(found)))
    send(records)
    with database.write() as connection:
        for identity, _, _, made_ms in due:
            connection.execute(
                "UPDATE decision SET label_state = 'sent' WHERE identity = ? AND label_state = 'waiting'",
                (identity,),
            )
            # one made meanwhile, by who corrects it, goes out by itself
            connection.execute(
                "DELETE FROM waiting_label WHERE identity = ? AND made_ms = ?", (identity, made_ms)
            )
    return len(records)


def _label(database: Database, identity: str, label: str, made_ms: int) -> Label | None:
    row = one(database.read(), identity)
    if row is None or row["merchant_id"] is None:
        return None
    try:
        return parse_label(
            msgspec.json.encode(
                {
                    "transaction_id": row["transaction_id"], "label": label, "source": "analyst",
                    "label_time": datetime.fromtimestamp(made_ms / 1000, UTC), "card_id": row["card_id"],
                    "merchant_id": row["merchant_id"], "event_time": json.loads(row["public"])["event_time"],
                    "tenant": row["tenant"],
                }
            )
        )  # fmt: skip
    except InvalidEvent as error:
        logger.error("a label of %s does not fit its contract: %s", identity, error)
        return None
