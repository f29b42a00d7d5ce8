"""Forwards misplaced records: those found on another partition than their card's."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Producer

from streams.log.records import HEADER_APPENDED_MS, HEADER_DEADLINE_MS, HEADER_DECIDED
from streams.log.seal import FORWARDED, Forged, Key, Keys, opened, sealed
from streams.log.topics import Topic
from streams.log.trace import HEADER_TRACE
from streams.runtime.metrics import FORWARDED as FORWARDED_METRIC

#: of a record's own headers, those that its card's partition reads
_CARRIED = (HEADER_DEADLINE_MS, HEADER_DECIDED, HEADER_TRACE)
#: largest header that is carried on: an edge decision has 3 kB
MAX_HEADER_BYTES = 32_768
HEADER_FORWARDED = "tollgate-forwarded-from"  # "partition:offset" where a misplaced record was found


def forward(producer: Producer, topic: Topic, record: Any, card_id: str, partition: int, keys: Keys) -> None:
    """Produce a misplaced record's value unchanged to its card's ``partition``, and count it.

    A sealed header keeps its first append time, so that its deadline does not start again. Of its own headers only those go along
    that mean something here: a record that just fitted would be too large with one more.
    """
    own = {
        name: value
        for name, value in record.headers or ()
        if value is not None and len(value) <= MAX_HEADER_BYTES
    }
    headers = {name: own[name] for name in _CARRIED if name in own}
    headers[HEADER_APPENDED_MS] = seal_appended_ms(
        keys.newest(), record.value, _first_append_ms(record, own, keys)
    )
    headers[HEADER_FORWARDED] = f"{record.partition}:{record.offset}".encode()
    producer.produce(
        topic.name, key=card_id, partition=partition, value=record.value, headers=list(headers.items())
    )
    FORWARDED_METRIC.inc()


def seal_appended_ms(key: Key, value: bytes, appended_ms: int) -> bytes:
    """The header HEADER_APPENDED_MS of a record with this value."""
    return sealed(key, FORWARDED, value, b"%d" % appended_ms)


def open_appended_ms(keys: Keys, raw: bytes | None, value: bytes) -> int:
    """The first append time of a forwarded record, ms since 1970.

    Raises:
        Forged: this stack did not forward this record.
    """
    return int(opened(keys, FORWARDED, value, raw))


def _first_append_ms(record: Any, headers: dict[str, bytes], keys: Keys) -> int:
    """A record that was forwarded before keeps its first append time, if this stack says so."""
    if HEADER_APPENDED_MS in headers:
        try:
            return open_appended_ms(keys, headers[HEADER_APPENDED_MS], record.value)
        except Forged:
            # counted where the record is taken in
            pass
    return int(record.timestamp)
