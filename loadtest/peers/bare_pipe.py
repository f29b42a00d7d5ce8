"""Lower bound for a decision over Kafka: one loop that reads `transactions` and writes decisions of the usual size.

python -m loadtest.peers.bare_pipe BOOTSTRAP DECISIONS

``DECISIONS``: a file of decisions, one JSON a line, that take turns; only the transaction's id is put in its place, so values
have the size of real ones and compress as they do. No state, no model, no JSON is read; clients are set up as the product's.
Prints "ready" once it has its partitions; ends at SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

from streams.log import topics
from streams.runtime.kafka.clients import new_consumer, new_producer

MARK = b'"transaction_id":"'
#: records a round at most, and how long it waits for them
ROUND, WAIT_S = 1_000, 0.005
COMMIT_S, FLUSH_S = 1.0, 10.0


def parts_around_id(decision: bytes) -> tuple[bytes, bytes]:
    """The bytes before and after the transaction's id.

    Raises:
        ValueError: the decision has no id.
    """
    start = decision.index(MARK) + len(MARK)
    return decision[:start], decision[decision.index(b'"', start) :]


def id_of(transaction: bytes) -> bytes:
    """The transaction's id as it stands in its JSON.

    Raises:
        ValueError: there is none.
    """
    start = transaction.index(MARK) + len(MARK)
    return transaction[start : transaction.index(b'"', start)]


def pipe(consumer: Any, producer: Any, decisions: Iterable[bytes], stop: threading.Event) -> int:
    """Decide until asked to stop; returns how many."""
    shapes = cycle([parts_around_id(decision) for decision in decisions])
    count, committed_s, produce = 0, time.monotonic(), producer.produce
    while not stop.is_set():
        records = consumer.consume(ROUND, timeout=WAIT_S)
        for record in records:
            head, tail = next(shapes)
            produce(topics.DECISIONS.name, head + id_of(record.value()) + tail, record.key())
        producer.poll(0)
        count += len(records)
        if time.monotonic() - committed_s > COMMIT_S and count:
            consumer.commit(asynchronous=True)
            committed_s = time.monotonic()
    return count


def main(bootstrap: str, decisions: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    producer = new_producer(bootstrap, "bare-pipe")
    consumer = new_consumer(bootstrap, "bare-pipe")
    consumer.subscribe([topics.TRANSACTIONS.name], on_assign=lambda *_: print("ready", flush=True))
    try:
        pipe(consumer, producer, Path(decisions).read_bytes().splitlines(), stop)
        producer.flush(FLUSH_S)
    finally:
        consumer.close()
        producer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
