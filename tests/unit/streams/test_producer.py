"""Producers whose broker is not there: they say so and end. No Kafka."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from loadtest.traffic.sending import Sender, SendError
from streams.runtime.kafka.clients import DeliveryError, flush, new_producer

NOBODY = "127.0.0.1:9"


def ends_within(seconds: float, work: Callable[[], object]) -> None:
    """Librdkafka waits in C, where no exception of a time limit reaches it."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"not over within {seconds:g} s"


def test_a_producer_closes_though_what_it_holds_can_never_be_delivered() -> None:
    producer = new_producer(NOBODY, "test")
    producer.produce("transactions", b"held")
    with pytest.raises(DeliveryError, match=r"1 records were not acknowledged within 0\.1 s"):
        flush(producer, 0.1)
    ends_within(30, producer.close)


def test_a_sender_gives_up_when_its_patience_is_over() -> None:
    sender = Sender(NOBODY, "test", patience_s=0.1)
    sender.send_all("transactions", [b"card"], [b"held"])
    said: list[str] = []

    def finish() -> None:
        try:
            sender.finish()
        except SendError as error:
            said.append(str(error))

    ends_within(30, finish)
    assert said == ["1 records were not acknowledged within 0.1 s; "]
