"""Producers and consumers with this project's settings: one place for acknowledgement, partitioning and pacing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streams.runtime.log_throttle import Repeats

logger = logging.getLogger(__name__)
#: a wait for the broker is told of after so long, then after twice as long, at last every half minute
SAY_FIRST_S, SAY_LAST_S = 2.0, 30.0
#: what librdkafka says; on standard error it would stand between a command's own lines
_librdkafka = logging.getLogger(f"{__name__}.librdkafka")
# it calls gapless delivery experimental each time a producer is made
_librdkafka.addFilter(lambda record: "enable.gapless.guarantee" not in record.getMessage())
# it logs each of its attempts to connect, up to twenty a second, in commands too
_librdkafka.addFilter(Repeats(of=(_librdkafka.name,)))


class DeliveryError(Exception):
    """The broker did not acknowledge in time; what was sent may or may not be in the log."""


class AcknowledgedProducer(Producer):
    """A producer that remembers which deliveries failed, so that ``flush`` below can say so."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.failures: list[str] = []
        self.bootstrap = str(config["bootstrap.servers"])
        # only failures call back: a Python call per record would cost as much as producing it
        super().__init__({**config, "delivery.report.only.error": True, "on_delivery": self._failed})

    def flush(self, *args: Any, **kwargs: Any) -> int:
        """As Producer.flush. Raises: DeliveryError after a fatal error."""
        return self._served(lambda: super(AcknowledgedProducer, self).flush(*args, **kwargs))

    def poll(self, *args: Any, **kwargs: Any) -> int:
        """As Producer.poll. Raises: DeliveryError after a fatal error."""
        return self._served(lambda: super(AcknowledgedProducer, self).poll(*args, **kwargs))

    def close(self) -> bool:
        """Close at once: what ``flush`` has not seen acknowledged is given up.

        Producer.close alone would wait for it, without end where the broker is gone or the producer failed for good.

        Raises:
            DeliveryError: after a fatal error that nobody has heard of yet.
        """
        self.purge()
        return bool(self._served(super().close))

    def _served(self, serve: Callable[[], int]) -> int:
        """Run what calls back. A fatal error is raised there as a KafkaError, which is no exception: nobody could catch it."""
        try:
            return serve()
        except (KeyboardInterrupt, SystemExit):
            raise
        except:  # noqa: E722 - see above
            pass
        # raised out here: chaining it to an object that is no exception is undefined
        self.failures.clear()
        raise DeliveryError(
            "the producer failed for good; what was not acknowledged may be missing from the log"
        )

    def _failed(self, error: Any, message: Any) -> None:
        if error is not None and not self.failures:
            # what waits behind a record that failed must not overtake it: readers drop what is older than the newest
            self.purge(in_queue=True, in_flight=False, blocking=False)
        if error is not None and len(self.failures) < 10:
            self.failures.append(f"{message.topic()}[{message.partition()}]: {error.str()}")


def _producer_config(bootstrap: str, client_id: str, overrides: dict[str, Any]) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "client.id": client_id,
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 1,
        "compression.type": "lz4",
        "batch.num.messages": 10000,
        "queue.buffering.max.messages": 500000,
        "message.timeout.ms": 120000,
        "retry.backoff.ms": 10,
        "reconnect.backoff.max.ms": 1000,
        "logger": _librdkafka,
        **overrides,
    }


#: for those who flush after every batch: it goes out whole, in one request a broker, when it is complete
AT_FLUSH = {"linger.ms": 100}


def new_producer(bootstrap: str, client_id: str, **overrides: Any) -> AcknowledgedProducer:
    """An idempotent producer that places keys as Java's clients do (murmur2), keeps order on retry and leaves no gap.

    A record that the broker refuses ends the producer (fatal error): nothing after it is delivered, ``flush`` raises
    DeliveryError, ``produce`` KafkaException; make a new one. Only where the refused one was the producer's first on its
    partition may the request behind it arrive, if it was under way: the broker takes any first sequence number. librdkafka
    does not count expired records among gaps, so none expires unless ``message.timeout.ms`` is given: callers bound their wait
    with ``flush``.
    """
    defaults = {"enable.gapless.guarantee": True, "message.timeout.ms": 0}
    return AcknowledgedProducer(_producer_config(bootstrap, client_id, {**defaults, **overrides}))


def new_reporting_producer(bootstrap: str, client_id: str, **overrides: Any) -> Producer:
    """As ``new_producer``, for callers that want to hear of each delivery (``on_delivery``), not of failures only."""
    return Producer(_producer_config(bootstrap, client_id, overrides))


def new_consumer(bootstrap: str, group: str, **overrides: Any) -> Consumer:
    """A consumer that reads committed data only and never commits behind its caller's back."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1500,
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 5,
            "reconnect.backoff.max.ms": 1000,
            "logger": _librdkafka,
            **overrides,
        }
    )


#: what a broker answers for a topic that was created, or moved, a moment ago; librdkafka calls neither retriable here
NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


def watermarks(consumer: Consumer, place: TopicPartition, timeout_s: float) -> tuple[int, int]:
    """The first offset that is kept and the offset after the last one, as the broker knows them now; waits for a leader.

    Raises:
        KafkaException: the broker does not answer within ``timeout_s``, or has no such topic.
    """
    until = time.monotonic() + timeout_s
    while True:
        try:
            found: tuple[int, int] = consumer.get_watermark_offsets(place, timeout=timeout_s)
            return found
        except KafkaException as error:
            if error.args[0].code() not in NO_LEADER_YET or time.monotonic() > until:
                raise
            time.sleep(0.1)


def flush(producer: Producer, timeout_s: float) -> None:
    """Wait until all that was produced is acknowledged; a wait of more than SAY_FIRST_S is logged.

    Raises:
        DeliveryError: some of it was not, within ``timeout_s``.
    """
    left = _wait(producer, timeout_s)
    failures = getattr(producer, "failures", [])
    if failures:
        said = "; ".join(failures)
        failures.clear()
        raise DeliveryError(f"records were not delivered: {said}")
    if left:
        raise DeliveryError(f"{left} records were not acknowledged within {timeout_s:g} s")


def _wait(producer: Producer, timeout_s: float) -> int:
    """How many records are not acknowledged after ``timeout_s``; says at growing intervals what is waited for."""
    began, pause_s, said = time.monotonic(), SAY_FIRST_S, False
    while True:
        left_s = began + timeout_s - time.monotonic()
        left: int = producer.flush(max(0.0, min(pause_s, left_s)))
        waited_s = time.monotonic() - began
        where = getattr(producer, "bootstrap", "its address")
        if not left:
            if said:
                logger.warning("Kafka at %s acknowledges again after %.0f s", where, waited_s)
            return 0
        if waited_s >= timeout_s:
            return left
        logger.warning("waiting for Kafka at %s, for %.0f s now: %d records are not acknowledged", where, waited_s, left)  # fmt: skip
        pause_s, said = min(pause_s * 2, SAY_LAST_S), True
