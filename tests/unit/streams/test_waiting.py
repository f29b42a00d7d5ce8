"""Waiting for Kafka or Redis: said at growing intervals, by whoever waits; libraries' repetitions are held back."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any

import hiredis
import pytest

from features.store import redis_client as resp
from features.store.partition_lease import Leases
from features.store.redis_client import RespClient, StoreUnavailable, retried
from streams.runtime.kafka import clients as kafka
from streams.runtime.kafka.clients import DeliveryError, flush
from streams.runtime.log_throttle import LAST_S, Repeats
from tests.support.answering_server import answering


class Clock:
    """Stands in for the ``time`` module: sleeping is what moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, pause_s: float) -> None:
        self.now += pause_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    clock = Clock()
    monkeypatch.setattr(kafka, "time", clock)
    monkeypatch.setattr(resp, "time", clock)
    caplog.set_level(logging.WARNING)
    return clock


class Broker:
    """A producer whose broker acknowledges at a certain time."""

    bootstrap = "127.0.0.1:9"

    def __init__(self, clock: Clock, back_at: float) -> None:
        self._clock, self._back_at = clock, back_at

    def flush(self, timeout_s: float) -> int:
        self._clock.now = min(self._clock.now + timeout_s, max(self._clock.now, self._back_at))
        return 0 if self._clock.now >= self._back_at else 7


def test_a_short_wait_for_kafka_is_nobodys_business(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    producer: Any = Broker(clock, clock.now + 1.5)
    flush(producer, 150)
    assert caplog.messages == []


def test_a_long_wait_for_kafka_says_what_it_waits_for_and_when_it_is_over(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    producer: Any = Broker(clock, clock.now + 100)
    flush(producer, 150)
    assert [text for text in caplog.messages if "127.0.0.1:9" in text] == caplog.messages
    waited = [text.split("for ")[2].split(" s")[0] for text in caplog.messages[:-1]]
    assert waited == ["2", "6", "14", "30", "60", "90"]
    assert "7 records are not acknowledged" in caplog.messages[0]
    assert caplog.messages[-1] == "Kafka at 127.0.0.1:9 acknowledges again after 100 s"


def test_a_wait_for_kafka_ends(clock: Clock) -> None:
    producer: Any = Broker(clock, clock.now + 1000)
    began = clock.now
    with pytest.raises(DeliveryError, match="7 records were not acknowledged within 150 s"):
        flush(producer, 150)
    assert clock.now == pytest.approx(began + 150)


def test_a_long_wait_for_the_store_is_said_and_ends(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    back_at = clock.now + 60

    def attempt() -> list[Any]:
        if clock.now < back_at:
            raise StoreUnavailable("MISCONF Errors writing to the AOF file: No space left on device")
        return ["done"]

    assert retried(attempt, 150) == ["done"]
    assert 5 <= len(caplog.messages) <= 8
    assert "No space left on device" in caplog.messages[0]
    assert caplog.messages[-1].startswith("the store serves again after 6")
    back_at = clock.now + 1000
    with pytest.raises(StoreUnavailable, match="No space"):
        retried(attempt, 150)


def _replies(answer: bytes, commands: list[tuple[Any, ...]]) -> list[Any]:
    """What a client makes of a server that says ``answer``."""
    with answering(answer) as address, closing(RespClient(address)) as client:
        return client.call(commands)


def test_a_store_that_takes_no_writes_is_unavailable_not_a_reply() -> None:
    answer = b"+OK\r\n-MISCONF Errors writing to the AOF file: No space left on device\r\n-EXECABORT\r\n"
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        _replies(answer, [("MULTI",), ("SET", "a", 1), ("EXEC",)])
    # what is wrong with one command is its sender's affair
    (reply,) = _replies(b"-WRONGTYPE of key\r\n", [("INCR", "a")])
    assert isinstance(reply, hiredis.ReplyError)


class FullStore:
    """Epochs and positions as Redis holds them while its disk is full: reads are served, writes are not."""

    def __init__(self, clock: Clock, room_at: float) -> None:
        self._clock, self._room_at = clock, room_at
        self.values: dict[str, Any] = {"p:epoch": b"1", "p:position": b"40"}
        self.writes = 0

    def with_retry(self, commands: list[Any]) -> list[Any]:
        return self.call(commands)

    def call(self, commands: list[Any]) -> list[Any]:
        if commands[0][0] == "MULTI":
            if self._clock.now < self._room_at:
                raise StoreUnavailable("MISCONF")
            self.writes += 1
            return [[]]
        if commands[0][0] == "INCR":
            return [1, b"40"]
        return ["OK", [b"1", b"40"]]


def test_state_is_written_once_when_the_store_takes_writes_again(clock: Clock) -> None:
    store = FullStore(clock, clock.now + 45)
    client: Any = store
    leases = Leases(client, "processor")
    assert leases.lease([("transactions", 0)]) == {("transactions", 0): 40}
    leases.commit([("transactions", 0)], [("SET", "card", "state")], {("transactions", 0): 47})
    assert store.writes == 1
    assert clock.now >= 1045


def _said(repeats: Repeats, text: str, logger: str = "aiokafka") -> str | None:
    record = logging.LogRecord(logger, logging.ERROR, "", 0, text, (), None)
    return record.getMessage() if repeats.filter(record) else None


def test_what_a_library_repeats_is_said_at_growing_intervals() -> None:
    clock = Clock()
    repeats = Repeats(clock=clock.monotonic)
    said = []
    for attempt in range(6000):
        text = _said(repeats, f"Unable connect to node with id 1: attempt {attempt}")
        said += [text] if text else []
        clock.now += 0.1
    # ten minutes of ten a second
    assert len(said) <= 20
    assert said[0] == "Unable connect to node with id 1: attempt 0"
    assert said[1].endswith("(and 9 more times since it was last logged)") or said[1].endswith(
        "(and 10 more times since it was last logged)"
    )
    assert _said(repeats, "Unable to update metadata from [1]") is not None
    clock.now += 10 * LAST_S
    assert _said(repeats, "Unable connect to node with id 1: attempt 1") is not None


def test_our_own_messages_are_never_held_back() -> None:
    repeats = Repeats(clock=lambda: 0.0)
    assert [_said(repeats, "chunk failed", "streams.runtime.chunk.app") for _ in range(3)] == [
        "chunk failed"
    ] * 3
