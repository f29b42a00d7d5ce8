"""Sends a seed's transactions and labels at a fixed rate from a thread; optionally half of them to the wrong partition."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa

from features.store.partitions import partitions_of
from features.transaction import from_ms
from loadtest.traffic.sending import pace
from loadtest.traffic.simulation import Run, blocks
from loadtest.traffic.simulator import World
from streams.contracts.label import Label
from streams.contracts.text.json_encoding import encode
from streams.log.topics import LABELS, TRANSACTIONS
from streams.runtime.kafka.clients import new_producer

#: simulated seconds per real second: a card pays a few times in a round
SCALE = 3000.0
#: one transaction in LABELLED_EVERY gets a label, sent at most LABEL_EARLY transactions before or LABEL_LATE after it
LABELLED_EVERY, LABEL_EARLY, LABEL_LATE = 20, 400, 4000


@dataclass(frozen=True)
class Sending:
    """The traffic of one round: ``rate`` a second for ``seconds`` of real time, event times from ``start_ms`` on."""

    rate: int
    seconds: float
    seed: int
    prefix: str
    start_ms: int
    misplaced: bool = False
    labels: bool = False

    @property
    def total(self) -> int:
        return round(self.rate * self.seconds)


class Traffic:
    """The sender of one round. ``sent`` counts transactions passed to the producer; ``finish`` waits for the broker."""

    def __init__(self, bootstrap: str, partitions: int, sending: Sending, world: World) -> None:
        self.sending = sending
        self.sent = 0
        self._error: BaseException | None = None
        run = Run(rate=sending.rate, seconds=sending.seconds, seed=world.seed, scale=SCALE)
        made = list(blocks(run, world, sending.start_ms, sending.prefix))
        self._values = [value for block in made for value in block.values]
        table = pa.concat_tables([block.table for block in made])
        self.ids: list[str] = table["transaction_id"].to_pylist()
        self._keys: list[str] = table["card_id"].to_pylist()
        homes = partitions_of(self._keys, partitions).tolist()
        rng = random.Random(sending.seed)
        wrong = [sending.misplaced and rng.random() < 0.5 for _ in homes]
        self._places = [
            (home + 1) % partitions if off else home for home, off in zip(homes, wrong, strict=True)
        ]
        self._labels = _labels(table, homes, rng) if sending.labels else {}
        self._producer: Any = new_producer(
            bootstrap, "faults", **{"queue.buffering.max.messages": 500_000, "linger.ms": 5, "log_level": 0}
        )
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Wait until all is sent and acknowledged.

        Raises:
            AssertionError: not within ``timeout_s``; or what the sending thread raised.
        """
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"not all was sent within {timeout_s:g} s"
        if self._error is not None:
            raise self._error
        left = self._producer.flush(timeout_s)
        assert left == 0, f"{left} transactions were not acknowledged within {timeout_s:g} s"
        self._producer.close()

    def _work(self) -> None:
        try:
            pace(self.sending.rate, self.sending.total, self._send, lambda: False)
        except BaseException as error:  # noqa: BLE001 - raised again by `finish`
            self._error = error

    def _send(self, begin: int, end: int) -> None:
        for row in range(begin, end):
            self._put(TRANSACTIONS.name, self._places[row], self._keys[row], self._values[row])
            for partition, card_id, value in self._labels.get(row, ()):
                self._put(LABELS.name, partition, card_id, value)
        self.sent = end
        self._producer.poll(0)

    def _put(self, topic: str, partition: int, key: str, value: bytes) -> None:
        until = time.monotonic() + 120
        while True:
            try:
                self._producer.produce(topic, value, key, partition)
                return
            except BufferError:
                # the broker is down: the queue holds two minutes of traffic
                assert time.monotonic() < until, "the broker accepted no record for 120 s"
                self._producer.poll(0.05)


def _labels(table: pa.Table, homes: list[int], rng: random.Random) -> dict[int, list[tuple[int, str, bytes]]]:
    """(partition, card, label) by the row with which it is sent; one in ten is sent twice."""
    columns = {name: table[name].to_pylist() for name in ("transaction_id", "card_id", "merchant_id")}
    event_ms = table["event_time"].cast(pa.int64()).to_pylist()
    out: dict[int, list[tuple[int, str, bytes]]] = {}
    last = len(homes) - 1
    for row in range(0, len(homes), LABELLED_EVERY):
        at = from_ms(event_ms[row])
        label = Label(
            transaction_id=columns["transaction_id"][row], label=rng.choice(("fraud", "legit")),
            label_time=at + timedelta(seconds=60), source="chargeback", card_id=columns["card_id"][row],
            merchant_id=columns["merchant_id"][row], event_time=at,
        )  # fmt: skip
        for _ in range(1 + (rng.random() < 0.1)):
            when = min(last, max(0, row + rng.randint(-LABEL_EARLY, LABEL_LATE)))
            out.setdefault(when, []).append((homes[row], label.card_id, encode(label)))
    return out
