"""A replica of the stream counts as started when it is warm, and no later than what is away allows."""

from __future__ import annotations

import threading

from services.scoring.ray.readiness import not_warm
from streams.log.rollout_feed import RolloutsUnreachable
from tests.support.waiting import STALL_S


def set_events(*numbers: int) -> tuple[threading.Event, threading.Event]:
    events = threading.Event(), threading.Event()
    for number in numbers:
        events[number].set()
    return events


def test_it_waits_for_partitions_and_bundle() -> None:
    assigned, settled = set_events()
    answers: list[str | None] = []
    waiting = threading.Thread(
        target=lambda: answers.append(not_warm(assigned, settled, lambda: True, STALL_S))
    )
    waiting.start()
    for event in (settled, assigned):
        assert not answers
        event.set()
    waiting.join(STALL_S)
    assert answers == [None]


def test_what_does_not_come_is_named() -> None:
    assert not_warm(*set_events(), lambda: True, 0.01) == "its partitions and its bundle"
    assert not_warm(*set_events(0), lambda: True, 0.01) == "its bundle"
    assert not_warm(*set_events(1), lambda: True, 0.01) == "its partitions"


def test_without_a_rollout_no_bundle_is_waited_for() -> None:
    assert not_warm(*set_events(0), lambda: False, STALL_S) is None


def test_a_broker_that_does_not_answer_keeps_no_replica_from_starting() -> None:
    def away() -> bool:
        raise RolloutsUnreachable("rollouts was not read to its end")

    assert not_warm(*set_events(), away, STALL_S) == "rollouts was not read to its end"
