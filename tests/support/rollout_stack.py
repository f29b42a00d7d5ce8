"""The rollout process over a mock broker, with bundles to roll out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from infra.embedded.mock_cluster import MockCluster
from models.bundle.registry import VersionState, states, write_state
from models.evidence.files import pack_hash
from models.rollout.transitions import RolloutRequest
from services.rollout.ledger import Ledger
from services.rollout.process import Rollout
from streams.access.identity import acting
from streams.access.signatures import signed
from streams.access.signed_record import Signed, received
from streams.contracts.text.json_encoding import encode
from streams.log.rollouts.feed import read_all
from streams.log.topics import ALL, AUDIT, ROLLOUT_REQUESTS
from streams.runtime.kafka.clients import new_consumer, new_producer
from streams.runtime.settings import Settings
from tests.support.bundle_samples import publish_sample

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class RolloutStack:
    """Settings of a mock broker with every topic, and a home with bundles."""

    settings: Settings

    def publish(self, version: str, state: str = "awaiting approval", author: str | None = None) -> None:
        publish_sample(self.settings.root, version, author)
        told = VersionState(state=state, since=NOW, by="trainer", why="test")  # type: ignore[arg-type]
        write_state(self.settings.bundles_dir, "fraud", version, told)

    def ledger(self) -> Ledger:
        ledger = Ledger(self.settings, new_producer(self.settings.kafka, "rollout-test"), NOW)
        ledger.recover(timeout_s=20)
        return ledger

    def sign(self, request: RolloutRequest, person: str | None = None) -> Signed:
        """The request, signed by a person of the stack; by default its operator. An approval names the evidence as it is."""
        if (
            request.action in ("approve", "rollout")
            and request.evidence is None
            and request.version is not None
        ):
            found = pack_hash(self.settings.bundles_dir, request.model, request.version)
            request = msgspec.structs.replace(request, evidence=found)
        identity = acting(self.settings.access_dir, person, NOW)
        return signed(identity, ROLLOUT_REQUESTS.name, encode(request))

    def states(self) -> dict[str, str]:
        return dict(states(self.settings.bundles_dir, "fraud"))

    def audit(self) -> int:
        return sum(1 for _ in read_all(self.settings, AUDIT.name, timeout_s=20))


@pytest.fixture
def rollout_stack(tmp_path: Path) -> Iterator[RolloutStack]:
    cluster = MockCluster({topic.name: 1 for topic in ALL})
    try:
        yield RolloutStack(Settings(home=str(tmp_path), kafka=cluster.bootstrap))
    finally:
        cluster.close()


@pytest.fixture
def rollout_process(rollout_stack: RolloutStack) -> Iterator[Rollout]:
    """The process's loop in a thread, as ``services.rollout.main`` wires it."""
    rollout = Rollout(rollout_stack.settings, rollout_stack.ledger())
    stop = threading.Event()

    def loop() -> None:
        consumer = new_consumer(rollout_stack.settings.kafka, "rollout")
        consumer.subscribe([ROLLOUT_REQUESTS.name])
        while not stop.is_set():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                rollout.handle(received(message), NOW)
                consumer.commit(message, asynchronous=False)
        consumer.close()

    thread = threading.Thread(target=loop)
    thread.start()
    yield rollout
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
