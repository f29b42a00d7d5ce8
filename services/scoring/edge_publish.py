"""Kafka for the HTTP edge: every record's acknowledgement comes back to the event loop, many at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka import Producer

from streams.kafka import new_reporting_producer

#: below the time that clients usually repeat a request after: what was not sent by then is not sent late
MESSAGE_TIMEOUT_MS = 5000
#: called on the event loop with None when the broker has the record, else with what went wrong
Done = Callable[[str | None], None]


class QueueFull(Exception):
    """More records wait for the broker than memory is set aside for."""


class Publishing(Protocol):
    """What the edge needs of Kafka."""

    def publish(
        self, topic: str, key: str, value: bytes, headers: list[tuple[str, bytes]], done: Done
    ) -> None: ...


class Publisher:
    """A producer and the thread that collects its acknowledgements for one event loop."""

    def __init__(self, bootstrap: str, client_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self._producer: Producer = new_reporting_producer(
            bootstrap,
            client_id,
            **{"message.timeout.ms": MESSAGE_TIMEOUT_MS, "queue.buffering.max.messages": 50_000},
        )
        self._loop = loop
        self._stop = threading.Event()
        self._settled: deque[tuple[Done, str | None]] = deque()
        self._thread = threading.Thread(target=self._collect, name="edge-acknowledgements", daemon=True)
        self._thread.start()

    def publish(
        self, topic: str, key: str, value: bytes, headers: list[tuple[str, bytes]], done: Done
    ) -> None:
        """Hand one record to the producer; ``done`` is called later, once.

        Raises:
            QueueFull: the broker has been away for too long.
        """

        def report(error: Any, _: Any) -> None:
            self._settled.append((done, None if error is None else error.str()))

        try:
            self._producer.produce(topic, key=key, value=value, headers=headers, on_delivery=report)
        except BufferError as error:
            raise QueueFull(str(error)) from error

    def warm(self, timeout_s: float) -> None:
        """Fetch the cluster's addresses, so that no first request pays for it; blocking.

        Raises:
            KafkaException: the broker does not answer in time.
        """
        self._producer.list_topics(timeout=timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what waits, within ``timeout_s``, and end the thread."""
        self._producer.flush(timeout_s)
        self._stop.set()
        self._thread.join(1.0)

    def _collect(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.2)
            settled = []
            while self._settled:
                settled.append(self._settled.popleft())
            if settled and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_tell, settled)


def _tell(settled: list[tuple[Done, str | None]]) -> None:
    for done, error in settled:
        done(error)
