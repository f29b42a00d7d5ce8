"""Reads the end of `decisions` backwards: what a replica that gets a partition has to take for decided."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from features.identity import DEFAULT_TENANT, identity_of
from streams.contracts.invalid_event import UNREADABLE
from streams.log.offsets.source_offsets import DecidedRows
from streams.log.records import HEADER_SOURCE_OFFSET, offset_in
from streams.log.topics import DECISIONS as DECISIONS_TOPIC
from streams.runtime.kafka.clients import headers_of, is_record, new_consumer, watermarks
from streams.runtime.settings import Settings

#: Kafka's consumer group, of which these readers are no members
GROUP = "scoring"
TAIL_TIMEOUT_S = 20.0
#: decisions of a partition that are read back, to know exactly which rows they decided
TAIL_RECORDS = 1_000


class TailUnreadable(Exception):
    """The newest decision on a partition could not be read, so duplicates cannot be recognised."""


def decided_rows(settings: Settings, partition: int) -> DecidedRows:
    """What was decided of a partition, by its newest decisions.

    Raises:
        TailUnreadable: not read within TAIL_TIMEOUT_S.
    """
    what = f"the newest decisions on {DECISIONS_TOPIC.name}[{partition}]"
    end = time.monotonic() + TAIL_TIMEOUT_S
    consumer = new_consumer(settings.kafka, f"{GROUP}-tail", **{"fetch.wait.max.ms": 10})
    try:
        low, high = watermarks(consumer, TopicPartition(DECISIONS_TOPIC.name, partition), TAIL_TIMEOUT_S)
        back = TAIL_RECORDS
        while high > low:
            start = max(low, high - back)
            found = _sources(_read_tail(consumer, partition, start, high, end))
            if found or start == low:
                return _decided(found, whole=start == low == 0)
            back *= 10
    except KafkaException as error:
        raise TailUnreadable(f"{what} were not read: {error}") from error
    finally:
        consumer.close()
    return DecidedRows()


def _read_tail(consumer: Consumer, partition: int, start: int, high: int, end: float) -> list[Message]:
    """Records start..high-1 of a partition of `decisions`. Raises: TailUnreadable, KafkaException."""
    consumer.assign([TopicPartition(DECISIONS_TOPIC.name, partition, start)])
    out: list[Message] = []
    while time.monotonic() < end:
        for message in consumer.consume(TAIL_RECORDS, timeout=0.1):
            if not is_record(consumer, message) and message.error().code() != KafkaError._BAD_COMPRESSION:
                raise KafkaException(message.error())
            out.append(message)
        if out and (out[-1].offset() or 0) >= high - 1:
            return out
    raise TailUnreadable(f"the newest decisions on {DECISIONS_TOPIC.name}[{partition}] were not read in time")


class _Source(NamedTuple):
    """A decision's source offset, its transaction and its append time in ms since 1970."""

    offset: int
    identity: str
    appended_ms: int


class _Decided(msgspec.Struct):
    transaction_id: str = ""
    tenant: str = DEFAULT_TENANT


_decided_decoder = msgspec.json.Decoder(_Decided)


def _sources(messages: Sequence[Message]) -> list[_Source]:
    """Where decisions came from; records that do not say so are left out."""
    out = []
    for message in messages:
        offset = None if message.error() else offset_in(dict(headers_of(message)).get(HEADER_SOURCE_OFFSET))
        if offset is None:
            continue
        try:
            decided = _decided_decoder.decode(message.value() or b"")
        except UNREADABLE:
            decided = _Decided()
        name = identity_of(decided.tenant, decided.transaction_id)
        out.append(_Source(offset, name, message.timestamp()[1]))
    return out


def _decided(sources: Sequence[_Source], *, whole: bool) -> DecidedRows:
    """``whole``: there are no earlier decisions than these."""
    newest = {source.offset: source.identity for source in sources}
    if whole or not sources:
        return DecidedRows(newest)
    # what was decided before the first of these was appended before that was decided
    return DecidedRows(newest, sources[0].offset, sources[0].appended_ms)
