"""A rollout seen from the replicas, on a real broker: shadow, canary, a restart in the middle, the way back, and a broker that is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
import pytest

from infra import stack
from infra.stack.tools import find_tools
from models.decision import Decision
from models.rollout.arms import arm_of
from models.rollout.plan import DEFAULT_PLAN
from models.rollout.run import Run
from services.rollout.ledger import Ledger, Statement
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.arms.shadow import Shadow
from services.scoring.arms.shadow_topic import ShadowTopic
from services.scoring.model.live import LiveModel
from services.scoring.stream.worker import StreamScorer
from streams.audit import end_of
from streams.contracts.rollout import RolloutRecord
from streams.contracts.shadow import decode_shadow
from streams.log.other_catalogues import Layouts
from streams.log.topics import ALL, DECISIONS, FEATURES, SHADOW
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.support.archive_samples import features
from tests.support.bundle_samples import publish_sample
from tests.support.feature_batches import decode_features, encode_features
from tests.support.running import ends_of, read_topic
from tests.support.waiting import until

OLD, NEW, SALT = "1.0.0", "2.0.0", "5a17"
CARDS = [f"card-{number}" for number in range(60)]
SHARE = 0.3
SOON_S = 90.0
NOW = datetime.now(UTC)
#: a busy test machine must not make a decision late
PATIENT_MS = 60_000


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]) -> Iterator[Settings]:
    if not find_tools().real_kafka:
        pytest.skip("no real Kafka here: it needs Java 17 and its jars (`make setup`)")
    settings = stack.settings_for(tmp_path_factory.mktemp("arms"), free_port_base())
    settings = stack.start(msgspec.structs.replace(settings, partitions=1), only=("kafka",), wait_s=90)
    for version in (OLD, NEW):
        publish_sample(settings.root, version)
    try:
        end_of(settings.kafka, [topic.name for topic in ALL], timeout_s=SOON_S)
        yield settings
    finally:
        stack.stop(settings, purge=True)


class Replica:
    """A stream replica as Ray Serve's deployment wires it."""

    def __init__(self, settings: Settings) -> None:
        self._stop = threading.Event()
        self.live = LiveModel(settings, self._stop)
        self.shadow = Shadow(ShadowTopic(settings.kafka, "replica"))
        assert self.live.settled.wait(SOON_S), self.live.problem
        self.worker = StreamScorer(
            settings, "replica", self.live, Layouts({}.get), self._stop, ArmsDecider(shadow=self.shadow)
        )
        self.worker.start()

    def end(self) -> None:
        self._stop.set()
        self.worker.join(SOON_S)
        self.shadow.close(SOON_S)
        assert not self.worker.alive


class Rollout:
    """Writes records as the rollout process does."""

    def __init__(self, settings: Settings, producer: Any) -> None:
        self._ledger = Ledger(settings, producer, NOW)
        self._ledger.recover(timeout_s=SOON_S)

    def write(self, state: Any, *, share: float | None = None, shadow: bool = False) -> None:
        sequence = self._ledger.sequence("fraud") + 1
        arms, traffic = {"champion": OLD}, {"champion": 1.0}
        if share is not None:
            arms, traffic = arms | {"challenger": NEW}, {"champion": 1 - share, "challenger": share}
        run = Run(
            id=SALT, champion=OLD, challenger=NEW, plan=DEFAULT_PLAN, step=1, started_at=NOW, started_by="ada", step_since=NOW
        )  # fmt: skip
        record = RolloutRecord(
            model="fraud", champion=OLD, previous=None, arms=arms, traffic=traffic, state=state, approved_by="ada", why="test",
            since=NOW, sequence=sequence, shadow=shadow, salt=SALT, run=run if share is not None else None,
        )  # fmt: skip
        self._ledger.write(record, Statement(action="rollout", by="ada", request_id=f"r-{sequence}"))


class Traffic:
    """One payment of each card at a time, and what became of them."""

    def __init__(self, settings: Settings, producer: Any) -> None:
        self._settings, self._producer = settings, producer
        self._offsets, self._read = count(), 0

    def decided(self) -> dict[str, Decision]:
        """The decisions of one more payment of every card, by card."""
        now_ms = int(time.time() * 1000)
        rows = []
        for card in CARDS:
            row = decode_features(features(next(self._offsets)).value)
            payment = msgspec.structs.replace(row.transaction, card_id=card)
            rows.append(
                msgspec.structs.replace(row, transaction=payment, appended_ms=now_ms, deadline_ms=PATIENT_MS)
            )
        self._producer.produce(FEATURES.name, encode_features(*rows), partition=0)
        flush(self._producer, SOON_S)
        end = self._read + len(CARDS)
        until(lambda: ends_of(self._settings, DECISIONS.name, 1)[0] >= end, SOON_S, "the decisions")
        records = read_topic(self._settings, DECISIONS.name, {0: self._read}, timeout_s=SOON_S)
        self._read = end
        found = [msgspec.json.decode(record.value(), type=Decision) for record in records]
        assert len(found) == len(CARDS)
        return {decision.card_id: decision for decision in found}


def arms_of(found: dict[str, Decision]) -> dict[str, str]:
    assert all(decision.model_version == {"champion": OLD, "challenger": NEW}[decision.arm] for decision in found.values())  # fmt: skip
    return {card: decision.arm for card, decision in found.items()}


@pytest.mark.timeout(400)
def test_a_rollout_as_its_replicas_see_it(broker: Settings) -> None:
    producer = new_producer(broker.kafka, "test")
    rollout, traffic = Rollout(broker, producer), Traffic(broker, producer)
    rollout.write("live")
    replica = Replica(broker)
    try:
        assert set(arms_of(traffic.decided()).values()) == {"champion"}
        rollout.write("shadow", share=0.0, shadow=True)
        until(lambda: replica.live.serving.challenger is not None, SOON_S, "the challenger")
        found = traffic.decided()
        assert set(arms_of(found).values()) == {"champion"}
        # a stall of the machine may cost a decision its shadow, and the record of the shadow nothing
        assert {version for decision in found.values() for version in decision.shadow} <= {NEW}
        until(lambda: ends_of(broker, SHADOW.name, 1)[0] > 0, SOON_S, "a record of the shadow")
        batches = [
            decode_shadow(r.value()) for r in read_topic(broker, SHADOW.name, {0: 0}, timeout_s=SOON_S)
        ]
        assert [card for batch in batches for card in batch.cards] == CARDS
        assert {(batch.run, batch.champion, batch.challenger, batch.dropped) for batch in batches} == {
            (SALT, OLD, NEW, 0)
        }
        assert all(batch.champion_codes == batch.challenger_codes for batch in batches), (
            "it is the same model"
        )

        rollout.write("canary", share=SHARE)
        until(lambda: replica.live.serving.challenger.share == SHARE, SOON_S, "the share")  # type: ignore[union-attr]
        expected = {card: arm_of(SALT, card, SHARE) for card in CARDS}
        assert set(expected.values()) == {"champion", "challenger"}
        assert arms_of(traffic.decided()) == expected
        replica.end()
        replica = Replica(broker)
        # the first decisions of a replica that starts in the middle
        assert arms_of(traffic.decided()) == expected

        rollout.write("rolled_back")
        until(lambda: replica.live.serving.challenger is None, SOON_S, "the way back")
        assert set(arms_of(traffic.decided()).values()) == {"champion"}

        rollout.write("canary", share=SHARE)
    finally:
        replica.end()
        producer.close()
    stop = threading.Event()
    both = {"champion": OLD, "challenger": NEW}
    try:
        kept = LiveModel(broker, stop)
        assert kept.settled.wait(SOON_S)
        assert kept.serving.versions == both
        stack.stop(broker)
        # also one that starts while the broker is away
        alone = LiveModel(broker, stop)
        assert alone.settled.wait(SOON_S)
        for live in (kept, alone):
            assert (live.serving.versions, live.serving.challenger.share) == (both, SHARE)  # type: ignore[union-attr]
    finally:
        stop.set()
