"""A replica waits for the bundle that is rolled out before it decides, and no longer than what is away allows."""

from __future__ import annotations

import threading

from services.scoring.model.readiness import bundle_missing
from streams.log.rollouts.feed import RolloutsUnreachable
from tests.support.waiting import STALL_S


def test_it_waits_for_the_bundle() -> None:
    settled = threading.Event()
    answers: list[str | None] = []
    waiting = threading.Thread(target=lambda: answers.append(bundle_missing(settled, lambda: True, STALL_S)))
    waiting.start()
    assert not answers
    settled.set()
    waiting.join(STALL_S)
    assert answers == [None]


def test_a_bundle_that_does_not_come_is_said() -> None:
    missing = bundle_missing(threading.Event(), lambda: True, 0.01)
    assert missing == "the bundle that is rolled out was not ready within 0.01 s"


def test_without_a_rollout_no_bundle_is_waited_for() -> None:
    assert bundle_missing(threading.Event(), lambda: False, STALL_S) is None


def test_a_broker_that_is_away_is_said() -> None:
    def away() -> bool:
        raise RolloutsUnreachable("rollouts was not read to its end within 10 s")

    assert bundle_missing(threading.Event(), away, STALL_S) == "rollouts was not read to its end within 10 s"
