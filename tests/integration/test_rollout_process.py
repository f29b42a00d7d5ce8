"""The rollout process over a broker: approve, reject, roll back, refuse; restarts forget nothing; followers are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.embedded.mock_cluster import MockCluster
from models.bundle.registry import VersionState, read_state, states, write_state
from models.rollout.transitions import RolloutRequest
from services.rollout.process import Rollout
from services.rollout.requests import RolloutRefused, RolloutTimeout, approve, ask, promote, reject, rollback
from services.rollout.rollout_topics import Ledger
from streams.contracts.json_encoding import encode
from streams.contracts.rollout import RolloutRecord
from streams.log.rollout_feed import follow_rollouts, newest_rollout, read_all
from streams.log.topics import ALL, ROLLOUT_REQUESTS, ROLLOUTS, ROLLOUTS_AUDIT
from streams.runtime.kafka.clients import new_consumer, new_producer
from streams.runtime.settings import Settings
from tests.support.bundle_samples import publish_sample

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Stack:
    settings: Settings

    def publish(self, version: str, state: str = "awaiting approval") -> None:
        publish_sample(self.settings.root, version)
        told = VersionState(state=state, since=NOW, by="trainer", why="test")  # type: ignore[arg-type]
        write_state(self.settings.bundles_dir, "fraud", version, told)

    def ledger(self) -> Ledger:
        ledger = Ledger(new_producer(self.settings.kafka, "rollout-test"))
        ledger.recover(self.settings, timeout_s=20)
        return ledger

    def states(self) -> dict[str, str]:
        return dict(states(self.settings.bundles_dir, "fraud"))

    def audit(self) -> int:
        return sum(1 for _ in read_all(self.settings, ROLLOUTS_AUDIT.name, timeout_s=20))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    cluster = MockCluster({topic.name: 1 for topic in ALL})
    try:
        yield Stack(Settings(home=str(tmp_path), kafka=cluster.bootstrap))
    finally:
        cluster.close()


@pytest.fixture
def running(stack: Stack) -> Iterator[Rollout]:
    """The process's loop in a thread, as ``services.rollout.main`` wires it."""
    rollout = Rollout(stack.settings, stack.ledger())
    stop = threading.Event()

    def loop() -> None:
        consumer = new_consumer(stack.settings.kafka, "rollout")
        consumer.subscribe([ROLLOUT_REQUESTS.name])
        while not stop.is_set():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                rollout.handle(message.value(), NOW)
                consumer.commit(message, asynchronous=False)
        consumer.close()

    thread = threading.Thread(target=loop)
    thread.start()
    yield rollout
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def until(true: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def test_the_life_of_two_models(stack: Stack, running: Rollout) -> None:
    stack.publish("1.0.0")
    stack.publish("1.1.0")
    stack.publish("1.2.0")
    assert newest_rollout(stack.settings, "fraud") is None
    who = {"by": "ada", "why": "looks good", "now": NOW}
    assert approve(stack.settings, "fraud", "1.0.0", **who)["champion"] == "1.0.0"
    answer = approve(stack.settings, "fraud", "1.1.0", **who)
    assert (answer["champion"], answer["previous"], answer["sequence"]) == ("1.1.0", "1.0.0", 2)
    assert reject(stack.settings, "fraud", "1.2.0", **who)["state"] == "rejected"
    back = rollback(stack.settings, "fraud", **who)
    assert (back["champion"], back["state"], back["approved_by"]) == ("1.0.0", "rolled_back", "ada")
    until(lambda: stack.states()["1.0.0"] == "live")
    assert stack.states() == {"1.0.0": "live", "1.1.0": "rolled back", "1.2.0": "rejected"}
    with pytest.raises(RolloutRefused, match="no previous version"):
        rollback(stack.settings, "fraud", **who)
    assert promote(stack.settings, "fraud", "1.1.0", **who)["sequence"] == 4
    newest = newest_rollout(stack.settings, "fraud")
    assert newest is not None and (newest.champion, newest.arms) == ("1.1.0", {"champion": "1.1.0"})
    assert stack.audit() == 6


def test_a_tampered_bundle_is_not_approved(stack: Stack, running: Rollout) -> None:
    stack.publish("1.0.0")
    policy = stack.settings.bundles_dir / "fraud/1.0.0/policy.json"
    policy.write_bytes(policy.read_bytes().replace(b"review", b"revieW"))
    with pytest.raises(RolloutRefused, match="not the file that was signed"):
        approve(stack.settings, "fraud", "1.0.0", by="ada", why="", now=NOW)
    assert newest_rollout(stack.settings, "fraud") is None
    assert stack.states() == {"1.0.0": "awaiting approval"}


def test_without_a_rollout_process_there_is_no_answer(stack: Stack) -> None:
    with pytest.raises(RolloutTimeout, match="is the rollout process running"):
        ask(stack.settings, "approve", "fraud", "1.0.0", by="ada", why="", now=NOW, timeout_s=1.0)


def test_a_repeated_request_is_answered_once_even_after_a_restart(stack: Stack) -> None:
    stack.publish("1.0.0")
    request = RolloutRequest(
        request_id="same",
        action="approve",
        model="fraud",
        version="1.0.0",
        by="ada",
        why="",
        requested_at=NOW,
    )
    rollout = Rollout(stack.settings, stack.ledger())
    assert rollout.handle(encode(request), NOW)
    assert not rollout.handle(encode(request), NOW)
    again = Rollout(stack.settings, stack.ledger())
    assert not again.handle(encode(request), NOW)
    assert (stack.audit(), again.standing("fraud").sequence) == (1, 1)
    assert not again.handle(b"nonsense", NOW)


def test_a_death_between_record_and_copy_is_mended(stack: Stack) -> None:
    stack.publish("1.0.0")
    record = RolloutRecord(
        model="fraud", champion="1.0.0", previous=None, arms={"champion": "1.0.0"}, traffic={"champion": 1.0},
        state="live", approved_by="ada", why="", since=NOW, sequence=1,
    )  # fmt: skip
    producer = new_producer(stack.settings.kafka, "dying")
    producer.produce(ROLLOUTS.name, encode(record), b"fraud", headers=[("request-id", b"half")])
    producer.flush(10)
    ledger = stack.ledger()
    Rollout(stack.settings, ledger).settle(NOW)
    assert stack.audit() == 1 and "half" in ledger.answered
    state = read_state(stack.settings.bundles_dir, "fraud", "1.0.0")
    assert state is not None and (state.state, state.by) == ("live", "ada")


def test_the_first_approved_model_is_served_at_once(stack: Stack) -> None:
    stack.publish("1.0.0", "approved")
    rollout = Rollout(stack.settings, stack.ledger())
    assert rollout.serve_first(NOW) == "1.0.0"
    assert rollout.serve_first(NOW) is None
    newest = newest_rollout(stack.settings, "fraud")
    assert newest is not None and (newest.champion, newest.approved_by) == ("1.0.0", "trainer")


def test_followers_get_the_newest_then_every_later_one(stack: Stack) -> None:
    for version in ("1.0.0", "1.1.0"):
        stack.publish(version)
    rollout = Rollout(stack.settings, stack.ledger())
    for number, version in enumerate(("1.0.0", "1.1.0")):
        request = RolloutRequest(
            request_id=str(number),
            action="approve",
            model="fraud",
            version=version,
            by="a",
            why="",
            requested_at=NOW,
        )
        rollout.handle(encode(request), NOW)
    told: list[int] = []

    def tell(record: RolloutRecord) -> None:
        told.append(record.sequence)
        if len(told) == 1:
            raise RuntimeError("a callback's own trouble")

    stop = threading.Event()
    thread = follow_rollouts(stack.settings, stop, tell)
    until(lambda: bool(told))
    assert told == [2]
    back = RolloutRequest(
        request_id="b", action="rollback", model="fraud", version=None, by="a", why="", requested_at=NOW
    )
    rollout.handle(encode(back), NOW)
    until(lambda: told == [2, 3])
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
