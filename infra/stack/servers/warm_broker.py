"""Warms up a new broker before traffic arrives: a JVM runs code about ten times slower until it is compiled.

Produces to and consumes from the topic `warm-up`, in a group, with commits, for a few seconds, then exits.
"""

from __future__ import annotations

import time

from confluent_kafka import KafkaException, TopicPartition

from streams.log.topics import WARM_UP
from streams.runtime.kafka.clients import DeliveryError, flush, new_consumer, new_producer
from streams.runtime.process import start_process

WARM_FOR_S = 6.0
MAX_ROUNDS = 2_000
RECORD = b'{"warm_up":"' + b"x" * 400 + b'"}'


def warm(bootstrap: str, seconds: float = WARM_FOR_S) -> int:
    """Produce, fetch and commit for ``seconds``, or until the broker fails; returns the number of rounds."""
    producer = new_producer(bootstrap, "warm-up", **{"linger.ms": 0})
    consumer = new_consumer(bootstrap, "warm-up", **{"auto.offset.reset": "latest", "fetch.wait.max.ms": 5})
    partitions = range(WARM_UP.partitions)
    consumer.assign([TopicPartition(WARM_UP.name, p) for p in partitions])
    end = time.monotonic() + seconds
    rounds = 0
    try:
        while time.monotonic() < end and rounds < MAX_ROUNDS:
            for partition in partitions:
                producer.produce(WARM_UP.name, value=RECORD, partition=partition)
            flush(producer, 5.0)
            fetched = [record for record in consumer.consume(10, timeout=0.005) if record.error() is None]
            if fetched:
                consumer.commit(message=fetched[-1], asynchronous=True)
            rounds += 1
    except (DeliveryError, KafkaException):
        return rounds
    finally:
        consumer.close()
        producer.close()
    return rounds


if __name__ == "__main__":
    process = start_process("broker-warm-up", metrics=False)
    print(f"{warm(process.settings.kafka)} rounds")
