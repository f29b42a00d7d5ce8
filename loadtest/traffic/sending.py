"""Producing at a rate: bounded in flight, with a deadline on every wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Producer

from streams.log import topics
from streams.runtime.kafka.clients import new_producer

Headers = Sequence[tuple[str, str | bytes]]
TRANSACTIONS, LABELS = topics.TRANSACTIONS.name, topics.LABELS.name


class SendError(Exception):
    """The broker does not take what is sent, or nobody decides it."""

    exit_code = 3


class Sender:
    """Sends records in order, never holding more than the producer's queue; waits at most ``patience_s`` for room."""

    def __init__(self, bootstrap: str, client_id: str, patience_s: float = 60.0) -> None:
        self._producer: Producer = new_producer(
            bootstrap, client_id, **{"queue.buffering.max.messages": 100_000, "linger.ms": 10}
        )
        self._patience_s = patience_s
        self._closed = False

    def send_all(
        self,
        topic: str,
        keys: Sequence[bytes | None],
        values: Sequence[bytes],
        headers: Headers | None = None,
    ) -> None:
        """Send records in order. Raises: SendError when the queue stays full for ``patience_s``."""
        produce, more = self._producer.produce, {} if headers is None else {"headers": headers}
        for key, value in zip(keys, values, strict=True):
            try:
                produce(topic, value, key, **more)
            except BufferError:
                self._wait_for_room(partial(produce, topic, value, key, **more))
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait for all acknowledgements, then close: a producer that is left open goes on looking for its broker.

        Raises:
            SendError: some did not come within ``patience_s``, or a record was given up.
        """
        left = self._producer.flush(self._patience_s)
        # closing gives up what is left, and counts that as failures too
        failures = list(getattr(self._producer, "failures", []))
        self._close()
        if left or failures:
            raise SendError(
                f"{left} records were not acknowledged within {self._patience_s:g} s; {'; '.join(failures)}"
            )

    def abandon(self) -> None:
        """Drop what was not sent yet, and close. After ``finish`` there is nothing left to do."""
        if not self._closed:
            self._producer.purge()
            self._close()

    def _close(self) -> None:
        self._closed = True
        self._producer.close()

    def _wait_for_room(self, produce: Callable[[], object]) -> None:
        until = time.monotonic() + self._patience_s
        while time.monotonic() < until:
            self._producer.poll(0.01)
            try:
                produce()
                return
            except BufferError:
                continue
        raise SendError(f"the broker took nothing for {self._patience_s:g} s")


def pace(
    rate: float,
    total: int,
    send: Callable[[int, int], None],
    stop: Callable[[], bool],
    *,
    slice_s: float = 0.01,
) -> int:
    """Open loop: by the time t, ``rate * t`` rows have been handed to ``send(begin, end)``, however slow others are.

    Returns how many were sent: ``total``, or fewer when ``stop()`` became true.
    """
    began, sent = time.perf_counter(), 0
    while sent < total and not stop():
        elapsed = time.perf_counter() - began
        due = min(total, int(elapsed * rate) + 1)
        if due > sent:
            # at most a slice of 2,000 between two looks at the clock
            end = min(due, sent + 2_000)
            send(sent, end)
            sent = end
        else:
            time.sleep(min(0.05, max(slice_s, (sent + 1) / rate - elapsed)))
    return sent


class Backpressure:
    """Holds a producer back while its consumers are more than ``most`` behind."""

    def __init__(self, done: Callable[[], int], most: int, patience_s: float = 120.0) -> None:
        self._done, self._most, self._patience_s = done, most, patience_s

    def wait(self, sent: int, stop: Callable[[], bool], check: Callable[[], Any]) -> None:
        """Return once at most ``most`` are open.

        Raises:
            SendError: nothing was decided for ``patience_s``.
        """
        last, changed = -1, time.monotonic()
        while (done := self._done()) + self._most < sent and not stop():
            check()
            if done != last:
                last, changed = done, time.monotonic()
            elif time.monotonic() - changed > self._patience_s:
                raise SendError(
                    f"nothing was decided for {self._patience_s:g} s: {sent - done} transactions are waiting"
                )
            time.sleep(0.01)
