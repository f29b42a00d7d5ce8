"""A rollout's plan over a broker: shadow, canary, done; undone by itself; a restart in the middle; a person; replicas that lack the bundle."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from models.rollout.arms import arm_of
from models.rollout.transitions import RolloutRequest
from services.cli.models.rollouts import at_time
from services.rollout.confirmation import Loading
from services.rollout.process import Rollout
from services.rollout.status import rollout_status
from streams.contracts.rollout import RolloutRecord
from streams.contracts.shadow import ShadowBatch, encode_shadow
from streams.log.rollouts.feed import newest_rollout
from streams.log.topics import DECISIONS, SHADOW
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.metrics import ROLLOUT_PAUSED, ROLLOUT_ROLLED_BACK
from tests.support.rollout_stack import RolloutStack

PLAN = """
no_data_s = 300
[[steps]]
kind = "shadow"
min_decisions = 1000
min_s = 20
[[steps]]
kind = "canary"
share = 0.5
min_decisions = 1000
min_s = 20
[[guards]]
metric = "decline_rate"
max = 1.3
min = 0.7
[[guards]]
metric = "error_rate"
max = 0.02
"""


@dataclass
class World:
    """A rollout process with its clock in the test's hand, and what replicas write."""

    stack: RolloutStack
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    replicas: Loading = field(default_factory=lambda: Loading([], []))
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.producer = new_producer(self.stack.settings.kafka, "replicas")
        self.start()

    def start(self) -> None:
        """The process begins, or begins again: what it knows is what the topics have."""
        self.ledger = self.stack.ledger()
        self.process = Rollout(self.stack.settings, self.ledger, ask_replicas=lambda _sequence: self.replicas)
        self.process.settle(self.now)

    def ask(self, action: str, version: str | None = None, plan: str | None = None) -> None:
        request = RolloutRequest(
            request_id=uuid.uuid4().hex, action=action, model="fraud", version=version,  # type: ignore[arg-type]
            by="ada", why=f"because {action}", requested_at=self.now, plan=plan,
        )  # fmt: skip
        assert self.process.handle(self.stack.sign(request), self.now)

    def pass_s(self, seconds: float, until: str | None = None) -> None:
        """Time passes, and the process looks: until the rollout has a state, or once."""
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds
        deadline = time.monotonic() + 20
        while True:
            self.seconds += 1.0
            self.process.runs.tick(self.now, self.seconds)
            if until is None or self.record.state == until:
                return
            assert time.monotonic() < deadline, f"{self.record.state}, {self.process.runs.measured}"

    def counted(self, decisions: int) -> None:
        """The process has counted what was sent, at this moment."""
        deadline = time.monotonic() + 20
        while self.process.runs.measured.decisions < decisions:
            self.pass_s(0)
            assert time.monotonic() < deadline, self.process.runs.measured

    def shadow(self, champion: list[int], challenger: list[int]) -> None:
        n = len(champion)
        batch = ShadowBatch(
            run=self.run_id, champion="1.0.0", challenger="1.1.0", at_ms=0, cards=[f"card-{i}" for i in range(n)],
            currencies=["EUR"] * n, amounts_minor=np.full(n, 100, "<i8").tobytes(),
            champion_codes=np.array(champion, np.int8).tobytes(), challenger_codes=np.array(challenger, np.int8).tobytes(),
            champion_scores=np.zeros(n, "<f4").tobytes(), challenger_scores=np.zeros(n, "<f4").tobytes(),
        )  # fmt: skip
        self.producer.produce(SHADOW.name, encode_shadow(batch), timestamp=self._ms())
        flush(self.producer, 20)

    def decide(self, n: int, worse: float = 1.0, failing: bool = False) -> None:
        """Decisions of n cards by their arms; of the challenger's, ``worse`` times as many are declined."""
        share, salt = self.record.traffic.get("challenger", 0.0), self.run_id
        for i in range(n):
            arm = arm_of(salt, f"card-{i}", share)
            every = round(10 / (worse if arm == "challenger" else 1.0))
            value = {
                "card_id": f"card-{i}", "arm": "champion" if failing else arm,
                "decision": "decline" if i % every == 0 else "approve", "status": "scored", "score": 0.5, "latency_ms": 5.0,
                "transaction_id": f"tx-{i}",
            }  # fmt: skip
            self.producer.produce(
                DECISIONS.name, msgspec.json.encode(value), f"card-{i}".encode(), timestamp=self._ms()
            )
        self.producer.produce(DECISIONS.name, b"no decision at all", timestamp=self._ms())
        flush(self.producer, 20)

    def _ms(self) -> int:
        # after the first seconds of a step, which are not counted
        return int((self.now + timedelta(seconds=10)).timestamp() * 1000)

    @property
    def record(self) -> RolloutRecord:
        """The newest record, as it was written and acknowledged."""
        return self.ledger.newest["fraud"]

    @property
    def run_id(self) -> str:
        assert self.record.run is not None
        return self.record.run.id


@pytest.fixture
def world(rollout_stack: RolloutStack) -> Iterator[World]:
    rollout_stack.publish("1.0.0", "approved")
    rollout_stack.publish("1.1.0")
    world = World(rollout_stack)
    assert world.process.serve_first(world.now) == "1.0.0"
    yield world
    world.process.runs.close()


ALIKE = [0, 0, 0, 0, 2] * 400


def in_canary(world: World) -> None:
    world.ask("rollout", "1.1.0", PLAN)
    world.pass_s(1, "shadow")
    world.shadow(ALIKE, ALIKE)
    world.pass_s(30, "canary")
    assert (world.record.state, world.record.traffic) == ("canary", {"champion": 0.5, "challenger": 0.5})


def test_shadow_canary_done_over_a_restart(world: World) -> None:
    before = world.now
    world.ask("rollout", "1.1.0", PLAN)
    record = world.record
    assert (record.arms, record.traffic["challenger"], record.shadow) == (
        {"champion": "1.0.0", "challenger": "1.1.0"}, 0.0, False,
    )  # fmt: skip
    assert world.stack.states()["1.1.0"] == "approved"
    world.replicas = Loading(["scoring-stream-0"], [])
    world.pass_s(5)
    assert not world.record.shadow
    world.replicas = Loading([], [])
    world.pass_s(1)
    assert (world.record.state, world.record.shadow) == ("shadow", True)
    world.shadow(ALIKE, ALIKE)
    world.pass_s(15)
    world.counted(2_000)
    assert world.record.state == "shadow"
    world.process.runs.close()
    world.start()
    world.pass_s(15, "canary")
    record = world.record
    assert (record.state, record.shadow, record.traffic["challenger"]) == ("canary", False, 0.5)
    assert record.run is not None and record.run.proven == ("decline_rate", "error_rate")
    assert len(record.salt) == 32 and record.salt == record.run.id
    world.decide(3_000)
    world.pass_s(30, "done")
    record = world.record
    assert (record.state, record.champion, record.previous, record.arms, record.traffic) == (
        "done", "1.1.0", "1.0.0", {"champion": "1.1.0"}, {"champion": 1.0},
    )  # fmt: skip
    assert world.stack.states() == {"1.0.0": "superseded", "1.1.0": "live"}
    newest = newest_rollout(world.stack.settings, "fraud")
    assert newest is not None and newest.sequence == record.sequence
    told = rollout_status(world.stack.settings, "fraud")
    assert (told["state"], told["arms"]) == ("done", {"champion": "1.1.0", "challenger": None})
    assert [one["state"] for one in told["history"]] == ["live", "shadow", "shadow", "canary", "done"]
    json.dumps(told)
    world.stack.settings.save()
    during = before + timedelta(seconds=45)
    shown = CliRunner().invoke(at_time, [during.isoformat(), "--home", world.stack.settings.home, "--json"])
    answer = json.loads(shown.output)
    assert {arm: (one["version"], one["share"]) for arm, one in answer["arms"].items()} == {
        "champion": ("1.0.0", 0.5), "challenger": ("1.1.0", 0.5),
    }  # fmt: skip
    assert answer["arms"]["challenger"]["thresholds"]["decline"] > 0


@pytest.mark.parametrize("kind", ["doubled declines", "hands its payments over"])
def test_a_harmful_challenger_is_undone_by_itself_and_told(world: World, kind: str) -> None:
    in_canary(world)
    world.decide(6_000, worse=2.0 if kind == "doubled declines" else 1.0, failing=kind != "doubled declines")
    world.pass_s(12, "rolled_back")
    record = world.record
    assert (record.state, record.arms, record.traffic) == (
        "rolled_back",
        {"champion": "1.0.0"},
        {"champion": 1.0},
    )
    assert record.signed_by == "rollout" and "limit" in record.why and ": fail" in record.why
    assert world.stack.states() == {"1.0.0": "live", "1.1.0": "rolled back"}
    labels = [sample.labels for family in ROLLOUT_ROLLED_BACK.collect() for sample in family.samples]
    wanted = "decline_rate" if kind == "doubled declines" else "error_rate"
    assert wanted in {one["check"] for one in labels} and labels[0]["version"] == "1.1.0"


def test_a_shadow_that_would_decline_twice_as_much_never_gets_a_card(world: World) -> None:
    world.ask("rollout", "1.1.0", PLAN)
    world.pass_s(1)
    world.shadow(ALIKE, [2 if i % 5 in (0, 4) else 0 for i in range(len(ALIKE))])
    world.pass_s(6, "rolled_back")
    assert "decline_rate is 2" in world.record.why
    assert all(
        one["traffic"]["challenger"] == 0 for one in rollout_status(world.stack.settings, "fraud")["history"]
    )


def test_no_data_pauses_and_a_person_goes_on_or_not(world: World) -> None:
    in_canary(world)
    world.pass_s(400, "paused")
    record = world.record
    assert record.state == "paused" and record.traffic["challenger"] == 0.5 and record.run is not None
    assert record.run.pause == "no_data"
    paused = [sample.labels for family in ROLLOUT_PAUSED.collect() for sample in family.samples]
    assert paused == [{"version": "1.1.0", "reason": "no_data"}]
    states: list[str] = []
    for action in ("resume", "pause", "abort"):
        # refused: one thing at a time
        world.ask("approve", "1.1.0")
        world.ask(action)
        states.append(world.record.state)
    assert states == ["canary", "paused", "rolled_back"]
    assert world.record.why == "because abort"
    assert world.stack.states() == {"1.0.0": "live", "1.1.0": "rolled back"}


def test_a_step_by_hand_and_a_rollback_of_everything(world: World) -> None:
    in_canary(world)
    world.ask("step")
    assert (world.record.state, world.record.champion) == ("done", "1.1.0")
    world.ask("rollback")
    assert (world.record.state, world.record.champion, world.record.run) == ("rolled_back", "1.0.0", None)


@pytest.mark.parametrize("answer", [Loading(["a"], ["a"]), Loading(["a"], [])])
def test_replicas_without_the_bundle_end_it_before_a_card_is_moved(world: World, answer: Loading) -> None:
    world.replicas = answer
    world.ask("rollout", "1.1.0", PLAN)
    world.pass_s(100, "rolled_back")
    assert ("refused the bundle" if answer.refused else "did not load") in world.record.why
    assert world.stack.states() == {"1.0.0": "live", "1.1.0": "rolled back"}


def test_what_cannot_begin_is_refused_and_changes_nothing(world: World) -> None:
    sequence = world.record.sequence
    world.ask("pause")
    world.ask("rollout", "1.0.0", PLAN)
    world.ask("rollout", "9.9.9", PLAN)
    world.now += timedelta(seconds=1)
    world.seconds += 1
    world.ask("rollout", "1.1.0", "[[steps]]\nkind = 'canary'")
    assert world.record.sequence == sequence
    assert world.stack.states() == {"1.0.0": "live", "1.1.0": "awaiting approval"}
