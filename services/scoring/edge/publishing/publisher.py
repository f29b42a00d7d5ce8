"""Kafka producer of the HTTP edge: passes the broker's acknowledgements to the event loop, many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaException, Producer

from services.scoring.decision.deadline import PUBLISH_PACE_S
from services.scoring.edge.publishing.record_sets import SentSet
from streams.runtime.kafka.broker_loss import BrokersForgotten, remembering
from streams.runtime.kafka.clients import new_reporting_producer

logger = logging.getLogger(__name__)
#: shorter than the usual retry interval of clients: a record not sent by then is dropped instead of sent late
MESSAGE_TIMEOUT_MS = 5000
#: maximum records that wait to be sent as a set, and that wait for the broker
MAX_HELD, MAX_QUEUED = 20_000, 50_000
#: called on the event loop: with None when the broker has acknowledged the record, else with the error
Done = Callable[[str | None], None]
Headers = list[tuple[str, bytes]]
#: key, value, headers
SetRecord = tuple[str, bytes, Headers]
#: librdkafka's delivery callback (error, message), called on the acknowledgement thread
Report = Callable[[Any, Any], None]


class QueueFull(Exception):
    """Too many records wait for the broker."""


class Publishing(Protocol):
    """The part of a Kafka producer that the edge uses."""

    def publish(self, topic: str, key: str, value: bytes, headers: Headers, done: Done) -> None: ...
    def publish_set(self, topic: str, records: Sequence[SetRecord], sent: SentSet) -> None: ...
    def answered(self, timeout_s: float) -> bool: ...


class Publisher:
    """A producer, and the thread that collects its acknowledgements, for one event loop."""

    def __init__(self, bootstrap: str, client_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self._bootstrap, self._client_id = bootstrap, client_id
        self._producer = self._new_producer()
        # replaced producers, each with the time (monotonic, s) after which all of its records have timed out
        self._retired: list[tuple[Producer, float]] = []
        self._loop = loop
        self._stop = threading.Event()
        self._held: list[tuple[str, str, bytes, Headers, Report]] = []
        self._sent_s = float("-inf")
        # records of sets that are scheduled but not sent yet
        self._in_sets = 0
        # calls to make on the event loop: callback, argument
        self._settled: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._thread = threading.Thread(target=self._collect, name="edge-acknowledgements", daemon=True)
        self._thread.start()

    def _new_producer(self) -> Producer:
        return new_reporting_producer(
            self._bootstrap,
            self._client_id,
            **{"message.timeout.ms": MESSAGE_TIMEOUT_MS, "queue.buffering.max.messages": MAX_QUEUED},
            **remembering(),
        )

    def publish(self, topic: str, key: str, value: bytes, headers: Headers, done: Done) -> None:
        """Send one record; ``done`` is called later, once.

        Raises:
            QueueFull: too many records wait, because the broker has been unavailable for too long.
        """
        self._check_room(1)
        self._held.append((topic, key, value, headers, partial(self._report, done)))
        if len(self._held) == 1:
            # at once when the last send was long enough ago, else as a set with the records that follow
            wait_s = self._sent_s + PUBLISH_PACE_S - self._loop.time()
            if wait_s <= 0:
                self._loop.call_soon(self.send_held)
            else:
                self._loop.call_later(wait_s, self.send_held)

    def publish_set(self, topic: str, records: Sequence[SetRecord], sent: SentSet) -> None:
        """Send records together. ``sent`` receives each acknowledgement; its ``done`` is called on the event loop.

        Raises:
            QueueFull: too many records wait; none of these was taken.
        """
        self._check_room(len(records))
        told = sent.done
        sent.done = lambda done: self._settled.append((told, done))
        self._in_sets += len(records)
        # no need to wait for more records; other work of this turn of the loop goes first
        self._loop.call_soon(self._send_set, topic, records, sent)

    def _check_room(self, records: int) -> None:
        waiting = len(self._producer) + self._in_sets
        if len(self._held) + records > MAX_HELD or waiting + records > MAX_QUEUED:
            raise QueueFull(f"{waiting:,} records wait for the broker")

    def send_held(self) -> None:
        """Pass the waiting records to the producer now. Call on the event loop."""
        self._sent_s = self._loop.time()
        held, self._held = self._held, []
        self._produce(held)

    def _send_set(self, topic: str, records: Sequence[SetRecord], sent: SentSet) -> None:
        self._in_sets -= len(records)
        self._produce(
            (topic, key, value, headers, partial(_report_of_set, sent, place))
            for place, (key, value, headers) in enumerate(records)
        )

    def _produce(self, records: Iterable[tuple[str, str, bytes, Headers, Report]]) -> None:
        refused = []
        # the other thread may replace the producer meanwhile, but still polls this one for a while
        producer = self._producer
        for topic, key, value, headers, report in records:
            try:
                producer.produce(topic, key=key, value=value, headers=headers, on_delivery=report)
            except Exception as error:  # noqa: BLE001 - a full queue, a record too large, a producer that failed: those behind it are sent
                refused.append((report, str(error)))
        for report, text in refused:
            report(text, None)
        if refused:
            _tell(self._all_settled())

    def _report(self, done: Done, error: Any, _: Any) -> None:
        self._settled.append((done, _text(error)))

    def _all_settled(self) -> list[tuple[Callable[[Any], None], Any]]:
        settled = []
        # the other thread takes from the queue too
        with contextlib.suppress(IndexError):
            while True:
                settled.append(self._settled.popleft())
        return settled

    def warm(self, timeout_s: float) -> None:
        """Fetch the cluster's metadata, so that the first request does not wait for it; blocking.

        Raises:
            KafkaException: the broker does not answer in time.
        """
        self._producer.list_topics(timeout=timeout_s)

    def answered(self, timeout_s: float) -> bool:
        """Whether the broker answers within ``timeout_s``; blocking."""
        try:
            self.warm(timeout_s)
        except KafkaException:
            return False
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush the producer within ``timeout_s`` and end the thread; blocking."""
        with contextlib.suppress(BrokersForgotten):
            self._producer.flush(timeout_s)
        self._stop.set()
        self._thread.join(1.0)

    def _collect(self) -> None:
        while not self._stop.is_set():
            failure = _polled(self._producer, 0.2)
            if failure is not None:
                logger.error("the Kafka producer is replaced: %s", failure)
                self._retired.append((self._producer, time.monotonic() + 2 * MESSAGE_TIMEOUT_MS / 1000))
                self._producer = self._new_producer()
            self._serve_retired()
            settled = self._all_settled()
            if settled and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_tell, settled)

    def _serve_retired(self) -> None:
        """Poll replaced producers until their records have timed out, so that their callers get an error."""
        for retired in list(self._retired):
            producer, until = retired
            _polled(producer, 0)
            if time.monotonic() > until:
                self._retired.remove(retired)


def _polled(producer: Producer, timeout_s: float) -> str | None:
    """Serve a producer's callbacks; returns why it is of no more use, None while it is."""
    try:
        producer.poll(timeout_s)
    except BrokersForgotten as error:
        return str(error)
    except:  # noqa: E722 - what is fatal for a producer is raised as an object that is no exception (``runtime.kafka.clients``)
        return "it failed fatally"
    return None


def _tell(settled: list[tuple[Callable[[Any], None], Any]]) -> None:
    for tell, what in settled:
        try:
            tell(what)
        except Exception:  # of one request: the others are answered
            logger.exception("a request could not be told of its acknowledgement")


def _report_of_set(sent: SentSet, place: int, error: Any, _: Any) -> None:
    sent.report(place, _text(error))


def _text(error: Any) -> str | None:
    """The error's text; None when there is no error."""
    return None if error is None else error if isinstance(error, str) else str(error.str())
