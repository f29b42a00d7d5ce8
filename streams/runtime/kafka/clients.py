"""Producers and consumers with this project's settings for acknowledgement, partitioning and pacing."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.contracts.invalid_event import InvalidEvent
from streams.runtime.kafka.connection import connection
from streams.runtime.log_throttle import Repeats
from streams.runtime.passed_over import pass_over

logger = logging.getLogger(__name__)
#: a member that is silent for SESSION_MS has left its group. Another member that leaves or joins is noticed at the next heartbeat: what is on
#: the partitions that it left waits until then
SESSION_MS, HEARTBEAT_MS = 6000, 500
#: a wait for the broker is logged after this time, then after twice as long each time, at most every half minute
SAY_FIRST_S, SAY_LAST_S = 2.0, 30.0
#: librdkafka's messages; on standard error they would mix with a command's own lines
_librdkafka = logging.getLogger(f"{__name__}.librdkafka")
# it calls gapless delivery experimental whenever a producer is made
_librdkafka.addFilter(lambda record: "enable.gapless.guarantee" not in record.getMessage())
# it logs every attempt to connect, up to twenty a second
_librdkafka.addFilter(Repeats(of=(_librdkafka.name,)))


#: what the broker or the client says of a record that it will never take
OF_THE_RECORD = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
)


class DeliveryError(Exception):
    """The broker did not acknowledge in time; the records may or may not be in the log.

    ``of_the_record``: it never will, because of what one of them is.
    """

    def __init__(self, text: str, *, of_the_record: bool = False) -> None:
        super().__init__(text)
        self.of_the_record = of_the_record


class AcknowledgedProducer(Producer):
    """A producer that remembers failed deliveries, so that ``flush`` below can report them."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.failures: list[str] = []
        self.refused_a_record = False
        self.bootstrap = str(config["bootstrap.servers"])
        # only failures call back: a Python call per record would cost as much as producing the record
        super().__init__({**config, "delivery.report.only.error": True, "on_delivery": self._failed})

    def flush(self, *args: Any, **kwargs: Any) -> int:
        """As Producer.flush. Raises: DeliveryError after a fatal error."""
        return self._served(lambda: super(AcknowledgedProducer, self).flush(*args, **kwargs))

    def poll(self, *args: Any, **kwargs: Any) -> int:
        """As Producer.poll. Raises: DeliveryError after a fatal error."""
        return self._served(lambda: super(AcknowledgedProducer, self).poll(*args, **kwargs))

    def close(self) -> bool:
        """Close at once; records that are not acknowledged yet are dropped.

        Producer.close alone would wait for them, for ever if the broker is gone or the producer has failed fatally.

        Raises:
            DeliveryError: after a fatal error that was not raised before.
        """
        self.purge()
        return bool(self._served(super().close))

    def _served(self, serve: Callable[[], int]) -> int:
        """Call ``serve``. In a callback, librdkafka raises a fatal error as a KafkaError, which is not an exception class."""
        try:
            return serve()
        except (KeyboardInterrupt, SystemExit):
            raise
        except:  # noqa: E722 - see above
            pass
        # raised outside the handler: chaining to an object that is not an exception is undefined
        self.failures.clear()
        raise DeliveryError(
            "the producer failed fatally; records that were not acknowledged may be missing from the log",
            of_the_record=self.refused_a_record,
        )

    def _failed(self, error: Any, message: Any) -> None:
        if error is not None and not self.failures:
            # records queued behind a failed one must not overtake it: readers drop offsets older than the newest
            self.purge(in_queue=True, in_flight=False, blocking=False)
        if error is not None and error.code() in OF_THE_RECORD:
            self.refused_a_record = True
        if error is not None and len(self.failures) < 10:
            self.failures.append(f"{message.topic()}[{message.partition()}]: {error.str()}")


def _producer_config(bootstrap: str, client_id: str, overrides: dict[str, Any]) -> dict[str, Any]:
    return {
        **connection(bootstrap),
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


#: for callers that flush after every batch: a complete batch goes out in one request per broker
AT_FLUSH = {"linger.ms": 100}


def new_producer(bootstrap: str, client_id: str, **overrides: Any) -> AcknowledgedProducer:
    """An idempotent producer that partitions keys as Java's clients do (murmur2), keeps order on retry and leaves no gap.

    A record that the broker refuses ends the producer (fatal error): nothing after it is delivered, ``flush`` raises
    DeliveryError, ``produce`` raises KafkaException; make a new producer. One exception: if the refused record was the
    producer's first on its partition, a request already sent behind it may arrive, because the broker accepts any first
    sequence number. librdkafka does not count expired records as gaps, so records never expire unless
    ``message.timeout.ms`` is given: callers bound their wait with ``flush``.
    """
    defaults = {"enable.gapless.guarantee": True, "message.timeout.ms": 0}
    return AcknowledgedProducer(_producer_config(bootstrap, client_id, {**defaults, **overrides}))


def new_reporting_producer(bootstrap: str, client_id: str, **overrides: Any) -> Producer:
    """Like ``new_producer``, for callers that need a callback for each delivery (``on_delivery``), not only for failures."""
    return Producer(_producer_config(bootstrap, client_id, overrides))


def new_admin(bootstrap: str) -> AdminClient:
    """A client for topics and metadata."""
    return AdminClient({**connection(bootstrap), "logger": _librdkafka})


def new_consumer(bootstrap: str, group: str, **overrides: Any) -> Consumer:
    """A consumer that reads only committed data and commits only when its caller commits."""
    return Consumer(
        {
            **connection(bootstrap),
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 5,
            "reconnect.backoff.max.ms": 1000,
            "logger": _librdkafka,
            **overrides,
        }
    )


def is_record(consumer: Consumer, message: Message) -> bool:
    """Whether a message is a record, and not an error. A batch that cannot be decompressed, or only to more than librdkafka takes,
    is stepped over record by record: without that the consumer would ask for it again and again.
    """
    error = message.error()
    if error is None:
        return True
    if error.code() == KafkaError._BAD_COMPRESSION:
        pass_over(message, InvalidEvent("unreadable_batch", "", error.str()))
        # a partition that was taken away meanwhile is its next owner's business
        with contextlib.suppress(KafkaException):
            consumer.seek(TopicPartition(message.topic(), message.partition(), message.offset() + 1))
    return False


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """The headers of a record; none if a name among them is not UTF-8, as for the chunk workers (``chunk.batches``)."""
    try:
        return message.headers() or []
    except (UnicodeDecodeError, SystemError):
        # after a name that it can read confluent-kafka forgets to return the error, and Python says so in its own way
        return []


#: errors for a topic created or moved a moment ago; librdkafka does not mark them as retriable here
NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


def watermarks(consumer: Consumer, place: TopicPartition, timeout_s: float) -> tuple[int, int]:
    """(first offset kept, offset after the last record), as the broker knows them now; waits for a leader.

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
    """Wait until all produced records are acknowledged; a wait longer than SAY_FIRST_S is logged.

    Raises:
        DeliveryError: some were not acknowledged within ``timeout_s``.
    """
    left = _wait(producer, timeout_s)
    failures = getattr(producer, "failures", [])
    if failures:
        said = "; ".join(failures)
        failures.clear()
        of_the_record = getattr(producer, "refused_a_record", False)
        raise DeliveryError(f"records were not delivered: {said}", of_the_record=of_the_record)
    if left:
        raise DeliveryError(f"{left} records were not acknowledged within {timeout_s:g} s")


def _wait(producer: Producer, timeout_s: float) -> int:
    """The number of records not acknowledged after ``timeout_s``; logs the wait at growing intervals."""
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
        logger.warning("waiting for Kafka at %s for %.0f s: %d records are not acknowledged", where, waited_s, left)  # fmt: skip
        pause_s, said = min(pause_s * 2, SAY_LAST_S), True
