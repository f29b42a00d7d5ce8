"""Spans of topics: where they end now, and reading them record by record up to there."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.kafka import NO_LEADER_YET, new_consumer

#: partition to offset, per topic
Span = dict[str, dict[int, int]]

#: a topic that was created a moment ago may not be known everywhere either
_NOT_THERE_YET = (*NO_LEADER_YET, KafkaError.UNKNOWN_TOPIC_OR_PART)


class LedgerUnreachable(Exception):
    """The broker does not answer, or stopped to before the end of a span was read."""

    exit_code = 3


def log_reader(bootstrap: str, **overrides: Any) -> Consumer:
    """A consumer for reading spans: committed data only, large fetches, no group to join, bounded queue."""
    return new_consumer(
        bootstrap,
        f"ledger-{uuid.uuid4()}",
        **{
            "fetch.min.bytes": 200_000,
            "fetch.wait.max.ms": 100,
            "queued.min.messages": 100_000,
            "queued.max.messages.kbytes": 65_536,
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
    """Hand all records from ``start`` up to but without ``end`` to ``handle``, in batches; returns how many.

    Raises:
        LedgerUnreachable: nothing came for ``stall_s`` though the end was not reached.
    """
    left = {(t, p): last for t, ends in end.items() for p, last in ends.items() if last > start[t].get(p, 0)}
    if not left:
        return 0
    # the end may be a control record, which no reader sees: the end-of-partition event tells
    consumer = log_reader(bootstrap, **{"enable.partition.eof": True})
    count = 0
    try:
        consumer.assign([TopicPartition(t, p, start[t].get(p, 0)) for t, p in left])
        progress = time.monotonic()
        while left:
            batch = consumer.consume(10_000, timeout=0.2)
            wanted = [record for record in batch if _inside(record, left)]
            if wanted:
                handle(wanted)
                count += len(wanted)
                progress = time.monotonic()
            for record in batch:
                _settle(record, left)
            if time.monotonic() - progress > stall_s:
                behind = ", ".join(f"{t}[{p}]" for t, p in sorted(left))
                raise LedgerUnreachable(f"nothing came from {behind} for {stall_s:g} s")
        return count
    finally:
        consumer.close()


def _inside(record: Any, left: dict[tuple[str, int], int]) -> bool:
    if record.error() is not None:
        return False
    last = left.get((record.topic(), record.partition()))
    return last is not None and record.offset() < last


def _settle(record: Any, left: dict[tuple[str, int], int]) -> None:
    """Take a partition out once its end was reached."""
    place = (record.topic(), record.partition())
    error = record.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        return
    # an end-of-partition event is at the offset that would come next
    reached = record.offset() if error is not None else record.offset() + 1
    if reached >= left.get(place, sys.maxsize):
        del left[place]
