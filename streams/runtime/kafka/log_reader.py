"""Spans of topics: find where topics end now, and read all records up to there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.runtime.kafka.clients import NO_LEADER_YET, is_record, new_consumer

#: offset by partition, by topic
Span = dict[str, dict[int, int]]

#: most records handed on at once
BATCH = 10_000
#: a topic created a moment ago may also be unknown to some brokers
_NOT_THERE_YET = (*NO_LEADER_YET, KafkaError.UNKNOWN_TOPIC_OR_PART)


class LogRow(NamedTuple):
    """A record with the fields that the processor needs."""

    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | None

    @classmethod
    def of(cls, message: Message, headers: list[tuple[str, bytes | None]] | None = None) -> LogRow:
        """A message of librdkafka, with ``headers`` where they matter: reading them costs."""
        return cls(message.partition(), message.offset(), message.timestamp()[1], message.value(), headers)


class LedgerUnreachable(Exception):
    """The broker does not answer, or no records came before the end of a span was reached."""

    exit_code = 3


def log_reader(bootstrap: str, **overrides: Any) -> Consumer:
    """A consumer for reading spans: committed data only, large fetches, no shared group, bounded queue."""
    return new_consumer(
        bootstrap,
        f"ledger-{uuid.uuid4()}",
        **{
            "fetch.min.bytes": 200_000,
            "fetch.wait.max.ms": 100,
            "queued.min.messages": 100_000,
            "queued.max.messages.kbytes": 65_536,
            # a full queue stops fetching for this long; with the default of 1 s a fast reader empties it and waits
            "fetch.queue.backoff.ms": 10,
            **overrides,
        },
    )


def end_of(bootstrap: str, topics: Iterable[str], timeout_s: float = 10.0) -> Span:
    """The offsets at which the topics end now; a topic that does not exist has no partitions.

    Raises:
        LedgerUnreachable: the broker does not answer within ``timeout_s``.
    """
    return _watermarks(bootstrap, list(topics), timeout_s, 1)


def whole_log(bootstrap: str, topics: Iterable[str], timeout_s: float = 10.0) -> tuple[Span, Span]:
    """(first offsets kept, offsets at which the topics end now).

    Raises:
        LedgerUnreachable: the broker does not answer within ``timeout_s``.
    """
    names = list(topics)
    return _watermarks(bootstrap, names, timeout_s, 0), _watermarks(bootstrap, names, timeout_s, 1)


def _watermarks(bootstrap: str, topics: list[str], timeout_s: float, which: int) -> Span:
    consumer = log_reader(bootstrap)
    until = time.monotonic() + timeout_s
    try:
        while True:
            try:
                known = consumer.list_topics(timeout=timeout_s).topics
                return {
                    topic: {
                        partition: consumer.get_watermark_offsets(
                            TopicPartition(topic, partition), timeout=timeout_s
                        )[which]
                        for partition in (known[topic].partitions if topic in known else ())
                    }
                    for topic in topics
                }
            except KafkaException as error:
                passes = error.args[0].retriable() or error.args[0].code() in _NOT_THERE_YET
                if time.monotonic() > until or not passes:
                    raise LedgerUnreachable(
                        f"Kafka at {bootstrap} does not answer: {error.args[0].str()}"
                    ) from error
                time.sleep(0.1)
    finally:
        consumer.close()


def read_span(
    bootstrap: str, start: Span, end: Span, handle: Callable[[list[Any]], None], *, stall_s: float = 15.0
) -> int:
    """Pass all records from ``start`` up to, not including, ``end`` to ``handle``, in batches; returns their number.

    Raises:
        LedgerUnreachable: no record came for ``stall_s`` before the end was reached.
    """
    left = {(t, p): last for t, ends in end.items() for p, last in ends.items() if last > start[t].get(p, 0)}
    if not left:
        return 0
    reached = {(t, p): start[t].get(p, 0) for t, p in left}
    # the last offset may be a control record, which readers never get: the end-of-partition event shows the end
    consumer = log_reader(bootstrap, **{"enable.partition.eof": True})
    count = 0
    try:
        consumer.assign([TopicPartition(t, p, offset) for (t, p), offset in reached.items()])
        progress = time.monotonic()
        while left:
            # a request for more records than there are would wait for more
            behind = sum(last - reached[place] for place, last in left.items())
            wanted = _wanted(consumer, consumer.consume(min(BATCH, behind), timeout=0.2), left, reached)
            if wanted:
                handle(wanted)
                count += len(wanted)
                progress = time.monotonic()
            left = {place: last for place, last in left.items() if reached[place] < last}
            if time.monotonic() - progress > stall_s:
                behind_at = ", ".join(f"{t}[{p}]" for t, p in sorted(left))
                raise LedgerUnreachable(f"no records came from {behind_at} for {stall_s:g} s")
        return count
    finally:
        consumer.close()


def _wanted(
    consumer: Consumer,
    batch: list[Any],
    left: dict[tuple[str, int], int],
    reached: dict[tuple[str, int], int],
) -> list[Any]:
    """The records before the ends in ``left``; updates ``reached``, the next offset of each partition."""
    wanted = []
    for record in batch:
        place = (record.topic(), record.partition())
        last = left.get(place)
        if last is None:
            continue
        offset = record.offset()
        if is_record(consumer, record):
            reached[place] = offset + 1
            if offset < last:
                wanted.append(record)
        elif record.error().code() == KafkaError._PARTITION_EOF:
            reached[place] = offset
        elif record.error().code() == KafkaError._BAD_COMPRESSION:
            reached[place] = offset + 1
    return wanted
