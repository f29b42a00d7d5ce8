"""Sends records to Kafka at a rate, with limits on records in flight and on every wait."""

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
    """The broker does not accept records, or the stack does not decide them."""

    exit_code = 3


class Sender:
    """Sends records in order. If the producer's queue is full, waits at most ``patience_s``."""

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
        """Send records in order. Raises: SendError if the queue stays full for ``patience_s``."""
        produce, more = self._producer.produce, {} if headers is None else {"headers": headers}
        for key, value in zip(keys, values, strict=True):
            try:
                produce(topic, value, key, **more)
            except BufferError:
                self._wait_for_room(partial(produce, topic, value, key, **more))
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait for all acknowledgements, then close: an open producer would keep trying to reach its broker.

        Raises:
            SendError: a record failed or was not acknowledged within ``patience_s``.
        """
        left = self._producer.flush(self._patience_s)
        # closing drops the records that are left and would count them as failures too
        failures = list(getattr(self._producer, "failures", []))
        self._close()
        if left or failures:
            raise SendError(
                f"{left} records were not acknowledged within {self._patience_s:g} s; {'; '.join(failures)}"
            )

    def abandon(self) -> None:
        """Drop unsent records and close. No effect after ``finish``."""
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
        raise SendError(f"the broker accepted no record for {self._patience_s:g} s")


def pace(
    rate: float,
    total: int,
    send: Callable[[int, int], None],
    stop: Callable[[], bool],
    *,
    slice_s: float = 0.01,
) -> int:
    """Open loop: at time t, ``rate * t`` rows have been passed to ``send(begin, end)``, however slow the stack is.

    Returns the number of rows sent: ``total``, or fewer if ``stop()`` became true.
    """
    began, sent = time.perf_counter(), 0
    while sent < total and not stop():
        elapsed = time.perf_counter() - began
        due = min(total, int(elapsed * rate) + 1)
        if due > sent:
            # check the clock at least every 2,000 rows
            end = min(due, sent + 2_000)
            send(sent, end)
            sent = end
        else:
            time.sleep(min(0.05, max(slice_s, (sent + 1) / rate - elapsed)))
    return sent


class Backpressure:
    """Makes a producer wait while more than ``most`` of its transactions are undecided."""

    def __init__(self, done: Callable[[], int], most: int, patience_s: float = 120.0) -> None:
        self._done, self._most, self._patience_s = done, most, patience_s

    def wait(self, sent: int, stop: Callable[[], bool], check: Callable[[], Any]) -> None:
        """Return once at most ``most`` transactions are undecided.

        Raises:
            SendError: none was decided for ``patience_s``.
        """
        last, changed = -1, time.monotonic()
        while (done := self._done()) + self._most < sent and not stop():
            check()
            if done != last:
                last, changed = done, time.monotonic()
            elif time.monotonic() - changed > self._patience_s:
                raise SendError(
                    f"no transaction was decided for {self._patience_s:g} s: {sent - done} are waiting"
                )
            time.sleep(0.01)
