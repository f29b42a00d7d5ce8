"""Reads `decisions` beside the users: who waits for a transaction is woken by its id, and every id seen is counted."""

from __future__ import annotations

import time
from typing import Any

import gevent
import msgspec
from confluent_kafka import TopicPartition
from gevent.event import AsyncResult

from streams.log.topics import DECISIONS
from streams.runtime.kafka.log_reader import log_reader

READ_WITHIN_S = 30.0


class _Id(msgspec.Struct):
    transaction_id: str


_decoder = msgspec.json.Decoder(_Id)


class Decisions:
    """A reader in a native thread (gevent cannot switch inside librdkafka) and the greenlets that wait for it."""

    def __init__(self, bootstrap: str, partitions: int, prefix: str) -> None:
        """Begin with what comes from now on; ids that do not begin with ``prefix`` are somebody else's."""
        self._prefix = prefix
        self._waiting: dict[str, AsyncResult] = {}
        self._arrived: list[tuple[str, float]] = []
        self.seen: set[str] = set()
        self._stop = False
        # at once: its default gathers large fetches for up to 100 ms, which would be the latency measured
        self._consumer: Any = log_reader(bootstrap, **{"fetch.min.bytes": 1})
        places = [TopicPartition(DECISIONS.name, p) for p in range(partitions)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=READ_WITHIN_S)[1]
        self._consumer.assign(places)
        hub = gevent.get_hub()
        self._wake = hub.loop.async_()
        self._wake.start(self._tell)
        self._thread = hub.threadpool.spawn(self._read)

    def expect(self, transaction_id: str) -> AsyncResult:
        """A result that becomes the time (``time.perf_counter``) at which the decision was read; ask before sending."""
        result = self._waiting[transaction_id] = AsyncResult()
        return result

    def give_up(self, transaction_id: str) -> None:
        self._waiting.pop(transaction_id, None)

    def missing(self, accepted: set[str], wait_s: float) -> int:
        """How many of the accepted have no decision after ``wait_s`` at most."""
        until_s = time.monotonic() + wait_s
        while not accepted <= self.seen and time.monotonic() < until_s:
            gevent.sleep(0.05)
        return len(accepted - self.seen)

    def close(self) -> None:
        self._stop = True
        self._thread.get(timeout=READ_WITHIN_S)
        self._wake.stop()

    def _read(self) -> None:
        try:
            while not self._stop:
                # consume() alone waits until there are as many as asked for, or for its whole timeout
                first = self._consumer.poll(0.1)
                if first is None:
                    continue
                records = [first, *self._consumer.consume(1000, timeout=0)]
                read_s = time.perf_counter()
                ids = [
                    _decoder.decode(record.value()).transaction_id
                    for record in records
                    if record.error() is None and record.value()
                ]
                ours = [(one, read_s) for one in ids if one.startswith(self._prefix)]
                if ours:
                    self._arrived += ours
                    self._wake.send()
        finally:
            self._consumer.close()

    def _tell(self) -> None:
        """In gevent's hub: never waits."""
        arrived, self._arrived = self._arrived, []
        for transaction_id, read_s in arrived:
            self.seen.add(transaction_id)
            result = self._waiting.pop(transaction_id, None)
            if result is not None:
                result.set(read_s)
