"""A client of Kafka that has forgotten every broker says so; one whose broker is only away does not."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from streams.access.identity import service
from streams.access.signatures import signed
from streams.access.signed_record import Signed, headers
from streams.contracts.rollout import RolloutRecord
from streams.contracts.text.json_encoding import encode
from streams.log.rollouts import feed as rollouts
from streams.runtime.kafka.broker_loss import GIVEN_UP_AFTER, BrokersForgotten, remembering
from streams.runtime.kafka.clients import new_consumer, new_reporting_producer
from streams.runtime.settings import Settings
from tests.support.waiting import STALL_S

COORDINATOR = {"GroupCoordinator": {"source": "logical"}, ":0/internal": {"source": "internal"}}
#: discard: nobody listens there
NOWHERE = "127.0.0.1:9"


def statistics(brokers: dict[str, dict[str, str]]) -> str:
    return msgspec.json.encode({"name": "reader", "type": "consumer", "ts": 1, "brokers": brokers}).decode()


def told(*texts: str) -> None:
    watch = remembering()["stats_cb"]
    for text in texts:
        watch(text)


@pytest.mark.parametrize("source", ["configured", "learned"])
def test_a_client_that_knows_a_broker_is_left_alone(source: str) -> None:
    told(*[statistics({**COORDINATOR, "127.0.0.1:9092/1": {"source": source}})] * 5)


def test_one_look_without_a_broker_may_be_between_two_of_them() -> None:
    empty, known = statistics(COORDINATOR), statistics({"b": {"source": "learned"}})
    told(*[empty] * (GIVEN_UP_AFTER - 1), known, *[empty] * (GIVEN_UP_AFTER - 1))


@pytest.mark.parametrize("brokers", [{}, COORDINATOR])
def test_a_client_without_a_broker_is_given_up(brokers: dict[str, dict[str, str]]) -> None:
    with pytest.raises(BrokersForgotten, match="reader has forgotten every broker"):
        told(*[statistics(brokers)] * GIVEN_UP_AFTER)


def test_a_real_client_raises_it_out_of_poll() -> None:
    watch = remembering(0.02)
    forgetful = {**watch, "stats_cb": lambda _text: watch["stats_cb"](statistics(COORDINATOR))}
    consumer = new_consumer(NOWHERE, "reader", **forgetful)
    try:
        with pytest.raises(BrokersForgotten):
            _poll(consumer, until=lambda: False)
    finally:
        # closing serves the statistics once more
        with suppress(BrokersForgotten):
            consumer.close()


def test_a_real_client_whose_broker_is_away_remembers_it() -> None:
    looks: list[str] = []
    watch = remembering(0.02)

    def look(text: str) -> None:
        looks.append(text)
        watch["stats_cb"](text)

    producer: Producer = new_reporting_producer(NOWHERE, "writer", **{**watch, "stats_cb": look})
    _poll(producer, until=lambda: len(looks) > 3 * GIVEN_UP_AFTER)
    assert NOWHERE in looks[-1]


def _poll(client: Any, until: Any) -> None:
    end = time.monotonic() + STALL_S
    while not until():
        assert time.monotonic() < end, f"no statistics within {STALL_S:g} s"
        client.poll(0.05)


class Message:
    def __init__(self, record: Signed) -> None:
        self._record = record

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return 0

    def value(self) -> bytes:
        return self._record.value

    def headers(self) -> list[tuple[str, str | bytes | None]]:
        return headers(self._record)


class Reader:
    """Gives one record, then silence, or what it raises."""

    def __init__(self, record: Signed, error: Exception | None) -> None:
        self.messages, self.error, self.closed = [Message(record)], error, False

    def assign(self, places: Any) -> None:
        pass

    def poll(self, timeout_s: float) -> Message | None:
        if self.messages:
            return self.messages.pop()
        if self.error is not None:
            error, self.error = self.error, None
            # what came before it was gathered, and is told of by the next one
            raise error
        time.sleep(0.001)
        return None

    def close(self) -> None:
        self.closed = True


def test_rollouts_are_followed_by_a_new_client_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path))
    identity = service(settings.access_dir, "rollout", datetime(2026, 11, 1, tzinfo=UTC))
    records = [
        RolloutRecord(
            model="fraud",
            champion=f"v{sequence}",
            previous=None,
            arms={},
            traffic={},
            state="live",
            approved_by="a",
            why="b",
            since=datetime(2026, 11, 1, tzinfo=UTC),
            sequence=sequence,
        )
        for sequence in (1, 2)
    ]
    first, second = (signed(identity, "rollouts", encode(record)) for record in records)
    readers = [Reader(first, BrokersForgotten("gone")), Reader(second, None)]
    made = list(readers)
    monkeypatch.setattr(rollouts, "new_consumer", lambda *_, **__: made.pop(0))
    stop, heard = threading.Event(), threading.Event()
    told: list[RolloutRecord] = []

    def tell(record: RolloutRecord) -> None:
        told.append(record)
        heard.set()

    thread = rollouts.follow_rollouts(settings, stop, tell)
    assert heard.wait(STALL_S)
    stop.set()
    thread.join(STALL_S)
    assert [record.champion for record in told] == ["v2"]
    assert [reader.closed for reader in readers] == [True, True]
