"""What each missing thing makes of a decision, in the stream and at the HTTP edge: status, ``degraded_by``, whose policy."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY

from features.catalogue import INDEX
from features.store.profiles.batch import MAX_KEYS
from features.store.redis_client import Command, StoreUnavailable
from models.bundle.content import load_bundle
from models.decision import Decision
from models.policy.policy import FALLBACK, Policy, Rule
from models.scoring.scorer import Scorer
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.decision import deadline
from services.scoring.decision.deadline import AT_ONCE_MS, STREAM
from services.scoring.decision.decider import MISSING_NAMES
from services.scoring.decision.explanations import ExplanationCost
from services.scoring.decision.timed_calls import TimedCalls
from services.scoring.edge.decide_round import warm_kernels
from services.scoring.edge.edge import Edge
from services.scoring.edge.limits import Limits
from services.scoring.edge.protocols import StoreLate
from services.scoring.http.app import build_app
from services.scoring.model.live import LiveModel
from services.scoring.model.serving import Serving
from services.scoring.stream.worker import StreamScorer
from streams.log.edge_decision import EdgeDecision
from streams.log.missing_inputs import blank
from streams.log.records import (
    MISSING_CARD,
    MISSING_DEVICE,
    MISSING_MERCHANT,
)
from streams.runtime.settings import Settings
from tests.support.archive_samples import features
from tests.support.bad_bundles import corrupt, hash_of_another, rollout, unsigned
from tests.support.bundle_samples import publish_sample
from tests.support.catalogue_samples import UNKNOWN
from tests.support.edge_fakes import FakeModel, FakePublisher, FakeStore
from tests.support.edge_keys import KEYS, decision_in
from tests.support.feature_batches import decode_features, encode_features
from tests.support.stream_fakes import Message, Producer, assign
from tests.support.waiting import STALL_S, until

PATIENT_MS = 60_000
ALL = [name for _, name in MISSING_NAMES]
EVERYTHING = sum(bit for bit, _ in MISSING_NAMES)
#: everything is looked at, so that every decision wants reasons; a rule that needs no score declines large amounts
POLICY = Policy(
    version="7", review=0.0, decline=1.0, rules=(Rule("large", "amount > 100000", "decline", "fraud-ops"),)
)


class Failing(Scorer):
    """A scorer that can be told to fail, and to explain nothing before ``go_on`` is set."""

    fails_to_score = fails_to_explain = False
    #: explanations that were begun, and that came to their end
    begun = ended = 0
    #: where the last one ran
    thread = 0
    go_on: threading.Event

    def score(self, matrix: Any) -> Any:
        if self.fails_to_score:
            raise MemoryError("no room for a batch")
        return super().score(matrix)

    def explain(self, matrix: Any, k: int = 3, currencies: Any = None) -> Any:
        self.begun += 1
        self.thread = threading.get_ident()
        assert self.go_on.wait(STALL_S)
        self.ended += 1
        if self.fails_to_explain:
            raise RuntimeError("no explanation")
        return super().explain(matrix, k, currencies)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Failing:
    warm_kernels()
    bundle = load_bundle(*publish_sample(tmp_path_factory.mktemp("bundle")))
    return Failing(dataclasses.replace(bundle, policy=POLICY), measure=False)


@pytest.fixture
def scorer(sound: Failing) -> Iterator[Failing]:
    sound.fails_to_score = sound.fails_to_explain = False
    sound.begun = sound.ended = 0
    sound.explanation_ms = None
    sound.go_on = threading.Event()
    sound.go_on.set()
    yield sound
    sound.go_on.set()


Force = Callable[[Any, Failing], Scorer | None]


def nothing(decider: Any, scorer: Failing) -> Scorer | None:
    return scorer


def slow_explanations(decider: Any, scorer: Failing) -> Scorer | None:
    # an explanation costs more than a batch may spend on them
    decider.cost.row_ms = 10 * STREAM.max_ms
    return scorer


def hanging_explanations(decider: Any, scorer: Failing) -> Scorer | None:
    # what its warming said is more than a batch makes at once, and less than it may spend
    scorer.explanation_ms = (0.0, 2 * AT_ONCE_MS)
    scorer.go_on.clear()
    return scorer


def failing_explanations(decider: Any, scorer: Failing) -> Scorer | None:
    scorer.fails_to_explain = True
    return scorer


def failing_model(decider: Any, scorer: Failing) -> Scorer | None:
    scorer.fails_to_score = True
    return scorer


def no_bundle(decider: Any, scorer: Failing) -> Scorer | None:
    return None


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing forced, and what it must make of the decision."""

    force: Force
    status: str
    degraded_by: list[str]
    missing: int = 0
    policy: str = POLICY.version
    score: bool = True
    reasons: bool = True


STEPS = {
    "nothing is missing": Step(nothing, "scored", []),
    "slow explanations": Step(slow_explanations, "degraded", ["explanations"], reasons=False),
    "explanations that hang": Step(hanging_explanations, "degraded", ["explanations"], reasons=False),
    "explanations that fail": Step(failing_explanations, "degraded", ["explanations"], reasons=False),
    **{f"no {name}": Step(nothing, "degraded", [name], missing=bit) for bit, name in MISSING_NAMES},
    "no merchant and device features": Step(
        nothing, "degraded", ["merchant_features", "device_features"], missing=MISSING_MERCHANT | MISSING_DEVICE
    ),
    "no card features and slow explanations": Step(
        slow_explanations, "degraded", ["card_features", "explanations"], missing=MISSING_CARD, reasons=False
    ),
    # rules only: there is a model, and it says nothing
    "no features": Step(nothing, "degraded", ALL, missing=EVERYTHING, score=False),
    "a model that fails": Step(failing_model, "degraded", ["model_failed"], score=False),
    "no features and a model that fails": Step(
        failing_model, "degraded", [*ALL, "model_failed"], missing=EVERYTHING, score=False
    ),
    "no bundle": Step(no_bundle, "not_scored", ["model"], policy=FALLBACK.version, score=False),
    "all gone": Step(
        no_bundle, "not_scored", [*ALL, "model"], missing=EVERYTHING, policy=FALLBACK.version, score=False
    ),
}  # fmt: skip


def check(step: Step, decision: dict[str, Any], more: Sequence[str] = ()) -> None:
    assert (decision["status"], decision["degraded_by"]) == (step.status, [*step.degraded_by, *more])
    assert decision["policy_version"] == step.policy
    assert decision["model_version"] == ("none" if step.policy == FALLBACK.version else "1.0.0")
    assert (decision["score"] is not None, bool(decision["reasons"])) == (step.score, step.reasons)
    if not step.score:
        assert decision["reasons"][-1]["code"] == "NO_SCORE"
    # silence is never approval
    assert decision["decision"] != "approve"


def stream_worker(
    tmp_path: Path, scorer: Scorer | None, decider: ArmsDecider | None = None, live: Any = None
) -> StreamScorer:
    """A worker of one partition, whose live model is ``live``, else one that serves ``scorer``."""
    live = live or SimpleNamespace(serving=Serving(scorer))
    worker = StreamScorer(Settings(home=str(tmp_path)), "test", live, UNKNOWN, threading.Event(), decider)
    assign(worker, {0: -1})
    return worker


def record(
    number: int = 0, *, missing: int = 0, left_ms: int = PATIENT_MS, amount: float = 1299, **fields: Any
) -> Any:
    """A features record as the processor makes it, just now, with ``left_ms`` of its deadline left."""
    made = decode_features(features(number).value or b"")
    row = np.frombuffer(made.vector, "<f4").copy()
    row[INDEX["amount"]] = amount
    blank(row, missing)
    now_ms = int(time.time() * 1000)
    changed: dict[str, Any] = {
        "vector": row.tobytes(), "missing": missing, "appended_ms": now_ms - 50, "deadline_ms": 50 + left_ms, **fields
    }  # fmt: skip
    return Message(number, encode_features(msgspec.structs.replace(made, **changed)))


def decide(worker: StreamScorer, *records: Any) -> list[dict[str, Any]]:
    producer: Any = Producer()
    messages: Any = list(records)
    worker._handle(messages, producer)
    assert not producer.letters
    return [json.loads(value) for value in producer.decisions]


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_in_the_stream(tmp_path: Path, scorer: Failing, step: Step) -> None:
    decider = ArmsDecider()
    worker = stream_worker(tmp_path, step.force(decider.champion, scorer), decider)
    [decision] = decide(worker, record(missing=step.missing))
    check(step, decision)
    msgspec.json.decode(json.dumps(decision), type=Decision)


def test_in_the_stream_little_time_costs_the_reasons_only(tmp_path: Path, scorer: Failing) -> None:
    worker = stream_worker(tmp_path, scorer)
    [decision] = decide(worker, record(left_ms=int(STREAM.reserve_ms) - 40))
    check(STEPS["slow explanations"], decision)


def test_in_the_stream_a_late_transaction_takes_no_reasons_from_the_others(
    tmp_path: Path, scorer: Failing
) -> None:
    worker = stream_worker(tmp_path, scorer)
    late, other = decide(worker, record(0, left_ms=-40), record(1))
    check(STEPS["slow explanations"], late)
    check(STEPS["nothing is missing"], other)


def test_in_the_stream_explanations_that_hang_are_waited_for_once_and_come_back(
    tmp_path: Path, scorer: Failing
) -> None:
    decider = ArmsDecider()
    worker = stream_worker(tmp_path, hanging_explanations(decider.champion, scorer), decider)
    for number in range(3):
        [decision] = decide(worker, record(number))
        check(STEPS["explanations that hang"], decision)
        # the decision is there, the explanation is not; nobody waits for a second one behind it
        assert (scorer.begun, scorer.ended) == (1, 0)
    scorer.go_on.set()
    hanging = decider.champion.calls._hanging
    assert hanging is not None
    hanging.result(STALL_S)
    decider.champion.cost.row_ms = 2 * AT_ONCE_MS
    [decision] = decide(worker, record(3))
    check(STEPS["nothing is missing"], decision)


def test_in_the_stream_the_first_explanation_of_a_model_is_one_that_can_be_afforded(
    tmp_path: Path, scorer: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a clock on which each explained row takes long
    now_s = 0.0
    explain = scorer.explain

    def slow(matrix: Any, k: int = 3) -> Any:
        nonlocal now_s
        now_s += 0.001 + 2 * STREAM.max_ms / 1000 * len(matrix)
        return explain(matrix, k)

    monkeypatch.setattr(scorer, "explain", slow)
    monkeypatch.setattr("models.scoring.scorer.perf_counter", lambda: now_s)
    scorer.warm((1,))
    assert scorer.explanation_ms == pytest.approx((1.0, 2 * STREAM.max_ms))
    worker = stream_worker(tmp_path, scorer)
    warmed = scorer.begun
    [decision] = decide(worker, record())
    check(STEPS["slow explanations"], decision)
    assert scorer.begun == warmed


def test_a_call_that_hangs_fails_those_after_it_at_once_and_a_failure_is_its_callers() -> None:
    calls, go_on = TimedCalls(), threading.Event()
    with pytest.raises(TimeoutError):
        calls.call(lambda: go_on.wait(STALL_S), 0.001)
    with pytest.raises(TimeoutError, match="still hangs"):
        calls.call(lambda: 1, STALL_S)
    go_on.set()
    assert calls._hanging is not None
    assert calls._hanging.result(STALL_S)
    assert calls.call(lambda: 1, STALL_S) == 1
    with pytest.raises(ZeroDivisionError):
        calls.call(lambda: 1 // 0, STALL_S)


def test_in_the_stream_rules_still_decline_when_the_model_fails(tmp_path: Path, scorer: Failing) -> None:
    decider = ArmsDecider()
    worker = stream_worker(tmp_path, failing_model(decider, scorer), decider)
    before = REGISTRY.get_sample_value("tollgate_model_failures_total") or 0.0
    small, large = decide(worker, record(0), record(1, amount=100_001))
    assert (small["decision"], small["rules"]) == ("review", [])
    assert (large["decision"], large["rules"]) == ("decline", ["large"])
    # without a score it would only have been reviewed
    assert large["reasons"] == [{"code": "RULE_LARGE", "text": "rule large (fraud-ops)"}]
    assert REGISTRY.get_sample_value("tollgate_model_failures_total") == before + 1


@pytest.mark.parametrize("step", ["no features", "no card_features"])
def test_in_the_stream_rules_still_decline_without_features(
    tmp_path: Path, scorer: Failing, step: str
) -> None:
    worker = stream_worker(tmp_path, scorer)
    missing = STEPS[step].missing
    small, large = decide(worker, record(0, missing=missing), record(1, missing=missing, amount=100_001))
    check(STEPS[step], small)
    assert small["rules"] == []
    assert (large["decision"], large["rules"], large["status"]) == ("decline", ["large"], "degraded")


def test_in_the_stream_features_of_another_catalogue_are_read_by_nobody(
    tmp_path: Path, scorer: Failing
) -> None:
    worker = stream_worker(tmp_path, scorer)
    other, ours = decide(worker, record(0, catalogue="another", amount=1e9), record(1))
    assert (other["status"], other["degraded_by"], other["score"]) == ("not_scored", ["catalogue"], None)
    assert (other["decision"], other["rules"]) == ("review", [])
    assert ours["status"] == "scored"


def test_in_the_stream_approved_ones_need_no_reasons(tmp_path: Path, scorer: Failing) -> None:
    decider = ArmsDecider()
    worker = stream_worker(tmp_path, slow_explanations(decider.champion, scorer), decider)
    approving = msgspec.structs.replace(POLICY, review=1.0)
    scorer.policy = approving
    try:
        approved, declined = decide(worker, record(0), record(1, amount=100_001))
    finally:
        scorer.policy = POLICY
    assert (approved["decision"], approved["status"], approved["degraded_by"]) == ("approve", "scored", [])
    # a rule declined it, and the score alone would not have: so does this one not
    assert (declined["decision"], declined["status"]) == ("decline", "scored")
    assert [reason["code"] for reason in declined["reasons"]] == ["RULE_LARGE"]


class SlowStore(FakeStore):
    """Answers after ``slow_s``, or gives up when the caller has waited long enough, as the real one does.

    ``lacks``: so many of the last replies are not there in time.
    """

    slow_s = 0.0
    lacks = 0
    waited: list[float]
    #: what went on with the decision
    published: EdgeDecision

    async def call(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        self.waited = [*getattr(self, "waited", []), timeout_s]
        if self.slow_s > timeout_s:
            raise StoreUnavailable(f"no answer within {timeout_s:.3f} s")
        replies = await super().call(commands, timeout_s)
        if self.lacks:
            raise StoreLate("not all of it in time", replies[: -self.lacks])
        return replies


TX: dict[str, Any] = {
    "transaction_id": "tx-1", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-42", "merchant_id": "m-9",
    "amount_minor": 1299, "currency": "EUR", "device_id": "d-5", "ip": "203.0.113.7", "customer_id": "c-1",
}  # fmt: skip


def at_the_edge(
    tmp_path: Path,
    scorer: Failing,
    force: Force,
    *,
    slow_s: float = 0.0,
    lacks: int = 0,
    left_ms: int = 8_000,
    **fields: Any,
) -> tuple[dict[str, Any], SlowStore]:
    """One request's decision while ``force`` holds and the store takes ``slow_s``."""

    async def go() -> tuple[dict[str, Any], SlowStore]:
        store, publisher, model = SlowStore(), FakePublisher(), FakeModel(scorer)
        edge = Edge(Settings(home=str(tmp_path), deadline_ms=8_000), model, store, publisher, Limits(), KEYS)
        model.serving = Serving(force(edge._rounds._decider.champion, scorer))
        store.slow_s, store.lacks = slow_s, lacks
        transport = httpx.ASGITransport(build_app(edge))
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            answer = await client.post("/v1/score", json=TX | fields, headers={"X-Deadline-Ms": str(left_ms)})
        assert answer.status_code == 200, answer.text
        [published] = publisher.records
        assert published[0] == "transactions"
        store.published = decision_in(published)
        return answer.json(), store

    return asyncio.run(go())


#: at the edge what came of one read is used: see below for parts of it
EDGE_STEPS = {name: step for name, step in STEPS.items() if step.missing in (0, EVERYTHING)}


@pytest.mark.parametrize("step", EDGE_STEPS.values(), ids=EDGE_STEPS)
def test_at_the_edge(tmp_path: Path, scorer: Failing, step: Step) -> None:
    decision, store = at_the_edge(tmp_path, scorer, step.force, slow_s=9.0 if step.missing else 0.0)
    check(step, decision, more=["idempotency"] if step.missing else [])
    # a slow store costs a round its share and no more
    assert max(store.waited) <= 0.04


#: how many of the last replies are late, and what the decision then goes without: a card is answered first
LATE = {
    1: ["ip_features"],
    2: ["device_features", "ip_features"],
    3: ["merchant_features", "device_features", "ip_features"],
    # what a customer's labels said, and what it paid
    4: ["merchant_features", "device_features", "ip_features", "customer_features"],
    5: ["merchant_features", "device_features", "ip_features", "customer_features"],
    6: [*ALL, "idempotency"],
    7: [*ALL, "idempotency"],
    # of the leases nothing is known either
    9: [*ALL, "idempotency"],
}


@pytest.mark.parametrize("lacks", LATE)
def test_at_the_edge_what_came_of_an_answer_in_time_is_used(
    tmp_path: Path, scorer: Failing, lacks: int
) -> None:
    def served(lacks: int) -> tuple[dict[str, Any], Any]:
        decision, store = at_the_edge(tmp_path, scorer, nothing, lacks=lacks)
        # nothing is asked a second time
        assert len(store.waited) == 1
        return decision, store.published

    whole, everything = served(0)
    decision, carried = served(lacks)
    assert whole["status"] == "scored"
    assert (decision["status"], decision["degraded_by"]) == ("degraded", LATE[lacks])
    assert (decision["policy_version"], decision["model_version"]) == (POLICY.version, "1.0.0")
    # with nothing of any entity the rules speak alone
    assert (decision["score"] is None) == (len(LATE[lacks]) > len(ALL))
    expected = np.frombuffer(everything.vector, "<f4").copy()
    missing = sum(bit for bit, name in MISSING_NAMES if name in LATE[lacks])
    blank(expected, missing)
    assert carried.missing == missing
    assert carried.vector == expected.tobytes()


def test_at_the_edge_a_large_round_uses_what_came_in_time(tmp_path: Path, scorer: Failing) -> None:
    items = [
        TX | {"transaction_id": f"b-{i}", "card_id": f"card-{i}", "ip": f"203.0.113.{i}"} for i in range(100)
    ]

    async def go() -> list[dict[str, Any]]:
        bulk, model = SlowStore(), FakeModel(scorer)
        # the last command: the addresses behind the first MAX_KEYS
        bulk.lacks = 1
        settings = Settings(home=str(tmp_path), deadline_ms=PATIENT_MS)
        edge = Edge(settings, model, SlowStore(), FakePublisher(), Limits(), KEYS, bulk=bulk)
        answers = await edge.score_batch([json.dumps(item).encode() for item in items], PATIENT_MS)
        return [json.loads(answer) for answer in answers if isinstance(answer, bytes)]

    decisions = asyncio.run(go())
    assert [decision["degraded_by"] for decision in decisions] == [[]] * MAX_KEYS + [["ip_features"]] * (
        100 - MAX_KEYS
    )


def test_at_the_edge_reasons_that_take_long_do_not_hold_the_loop(
    tmp_path: Path, scorer: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    # only its end ends the wait for an explanation
    monkeypatch.setattr(deadline, "OVERRUN", 1e6)

    async def go() -> None:
        loop_thread = threading.get_ident()
        edge = Edge(
            Settings(home=str(tmp_path), deadline_ms=PATIENT_MS), FakeModel(scorer), FakeStore(), FakePublisher(), Limits(), KEYS
        )  # fmt: skip

        def asked(number: int) -> asyncio.Future[bytes]:
            return edge.begin(json.dumps(TX | {"transaction_id": f"tx-{number}"}).encode(), PATIENT_MS)

        # what warming said: reasons in no time
        scorer.explanation_ms = (0.0, AT_ONCE_MS / 100)
        assert json.loads(await asked(0))["reasons"]
        assert scorer.thread == loop_thread
        # and of another model, that one row takes long
        monkeypatch.setattr(scorer, "version", "2.0.0")
        scorer.explanation_ms = (0.0, 2 * AT_ONCE_MS)
        scorer.go_on.clear()
        slow = asked(1)
        while scorer.begun < 2:
            await asyncio.sleep(0)
        # the loop goes on: one that wants no reasons comes, is decided and leaves meanwhile
        monkeypatch.setattr(scorer, "policy", msgspec.structs.replace(POLICY, review=1.0))
        approved = json.loads(await asked(2))
        assert (approved["decision"], approved["status"]) == ("approve", "scored")
        assert not slow.done()
        scorer.go_on.set()
        told = json.loads(await slow)
        assert (told["status"], bool(told["reasons"])) == ("scored", True)
        assert scorer.thread != loop_thread

    asyncio.run(go())


@pytest.mark.parametrize("spoil", [corrupt, unsigned, hash_of_another], ids=lambda spoil: spoil.__name__)
def test_a_first_bundle_that_cannot_be_loaded_leaves_the_fallback_policy(
    tmp_path: Path, scorer: Failing, spoil: Callable[[Path], None]
) -> None:
    spoil(publish_sample(tmp_path)[0])
    live = LiveModel(Settings(home=str(tmp_path)), threading.Event(), lambda *_: None)
    live.apply(rollout("1.0.0", 1))
    until(lambda: "was refused" in live.problem, STALL_S, "the bundle's refusal")
    worker = stream_worker(tmp_path, None, live=live)
    [decision] = decide(worker, record())
    check(STEPS["no bundle"], decision)
    decision, _ = at_the_edge(tmp_path, scorer, lambda *_: live.scorer)
    check(STEPS["no bundle"], decision)


def test_at_the_edge_rules_still_decline_when_the_model_fails(tmp_path: Path, scorer: Failing) -> None:
    decision, _ = at_the_edge(tmp_path, scorer, failing_model, amount_minor=100_001)
    assert (decision["decision"], decision["rules"], decision["status"]) == ("decline", ["large"], "degraded")


def test_explanations_have_a_budget_a_batch_and_a_stall_does_not_end_them() -> None:
    cost = ExplanationCost(row_ms=0.5)
    assert cost.affordable(1000) == STREAM.max_ms / 0.5
    assert cost.affordable(40) == STREAM.spare_ms(40) / 0.5 == 8
    assert cost.affordable(STREAM.reserve_ms + 1) == 2
    assert cost.affordable(STREAM.reserve_ms) == cost.affordable(-5) == 0
    assert cost.row_ms == 0.5, "no time at all says nothing about what a row costs"
    assert cost.affordable(float("inf")) == 1000, (
        "half a second where there is no deadline: a batch must be handed over"
    )
    cost.fixed_ms = 2.0
    assert (cost.affordable(1000), cost.of(4)) == ((STREAM.max_ms - 2.0) / 0.5, 4.0)
    cost.learn(1, 0.5)
    assert cost.fixed_ms == 0.5, "explaining has taken less than it was thought to take at least"
    # the machine stood still during one of them: the next batch explains all the same
    expected_ms = cost.of(1)
    cost.learn(1, 40_000.0)
    assert cost.of(1) == pytest.approx(1.2 * expected_ms, rel=0.3)
    assert cost.affordable(100) > 1
    # what stays slow is believed, and tried again later
    slow = 0
    while cost.affordable(100):
        cost.learn(1, 40_000.0)
        slow += 1
    assert 5 < slow < 30
    batches = 0
    while not cost.affordable(100):
        batches += 1
        assert batches < 100


def test_stalls_of_a_busy_machine_cost_no_row_its_reasons() -> None:
    chance, cost = random.Random(1), ExplanationCost(row_ms=0.012, fixed_ms=0.03)
    for _ in range(5_000):
        assert cost.affordable(80) >= 10
        # in one explanation of twenty the machine stands still, for 60 ms on average
        stalled_ms = chance.expovariate(1 / 60) if chance.random() < 0.05 else 0.0
        cost.learn(10, 0.03 + 0.012 * 10 + stalled_ms)
