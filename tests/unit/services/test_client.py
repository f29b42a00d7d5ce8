"""The client's calls without a network: what is sent, what is repeated and when, what failures become."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from features.transaction import Transaction
from models.decision import Decision
from services.client import (
    Client,
    Conflict,
    Invalid,
    ItemProblem,
    NotFound,
    OverQuota,
    Retry,
    Unavailable,
    Unreachable,
    calls,
)
from services.client.calls import Answer, Pause, Send, Terms
from services.client.retries import NEVER

TX = Transaction(
    transaction_id="tx-1", event_time=datetime(2026, 11, 21, 10, 15, 30, tzinfo=UTC), card_id="card-42",
    merchant_id="m-9", amount_minor=1299, currency="EUR",
)  # fmt: skip
DECISION: dict[str, Any] = {
    "transaction_id": "tx-1", "decision": "approve", "status": "scored", "score": 0.1, "reasons": [], "model": "fraud",
    "model_version": "1", "policy_version": "1", "features_version": "1", "arm": "champion", "shadow": {}, "rules": [],
    "event_time": "2026-11-21T10:15:30Z", "received_at": "2026-11-21T10:15:30Z", "decided_at": "2026-11-21T10:15:30Z",
    "latency_ms": 1.0, "card_id": "card-42", "tenant": "default",
}  # fmt: skip


def problem(status: int, reason: str = "overloaded") -> bytes:
    return json.dumps({"status": status, "reason": reason, "detail": "said", "field": "f"}).encode()


class World:
    """A clock that moves only when told to, and answers in order."""

    def __init__(self, answers: list[Answer], took_s: float = 0.001, retry: Retry | None = None) -> None:
        self.now_s, self.took_s = 100.0, took_s
        self.answers = answers
        self.sent: list[Send] = []
        self.pauses: list[float] = []
        self.terms = Terms(retry or Retry(), lambda: self.now_s, lambda: 0.5)

    def run(self, call: calls.Call[Any]) -> Any:
        told: Answer | None = None
        while True:
            try:
                step = call.send(told)
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.now_s += step.seconds
                told = None
            else:
                self.sent.append(step)
                self.now_s += self.took_s
                told = self.answers.pop(0)


OK = Answer(200, json.dumps(DECISION).encode())


def test_the_deadline_that_is_sent_is_the_time_left() -> None:
    world = World([Answer(0, b"refused"), Answer(503, problem(503)), OK], took_s=0.2)
    decision = world.run(calls.score(world.terms, TX, 1000))
    assert decision.decision == "approve"
    assert len({step.body for step in world.sent}) == 1  # the same id and content each time
    # jitter is half of 20, then of 40 ms
    assert world.pauses == [0.01, 0.02]
    assert [step.headers["x-deadline-ms"] for step in world.sent] == ["1000", "790", "570"]
    assert [round(step.timeout_s, 3) for step in world.sent] == [1.05, 0.84, 0.62]


def test_what_was_asked_for_is_waited_for_or_given_up() -> None:
    patient = World([Answer(503, problem(503), "1"), OK])
    patient.run(calls.score(patient.terms, TX, 2000))
    assert patient.pauses == [1.01]
    latency_sensitive = World([Answer(503, problem(503), "1")])
    with pytest.raises(Unavailable) as caught:
        latency_sensitive.run(calls.score(latency_sensitive.terms, TX, 100))
    assert (caught.value.retry_after_s, caught.value.reason, latency_sensitive.pauses) == (
        1.0,
        "overloaded",
        [],
    )


def test_attempts_end() -> None:
    world = World([Answer(503, problem(503))] * 3, retry=Retry(attempts=3))
    with pytest.raises(Unavailable):
        world.run(calls.score(world.terms, TX, 60_000))
    assert (len(world.sent), world.answers) == (3, [])
    assert [step.headers["x-deadline-ms"] for step in world.sent] == ["10000"] * 3
    with pytest.raises(ValueError, match="at least 1 ms"):
        world.run(calls.score(world.terms, TX, 0))


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (409, Conflict), (413, Invalid), (422, Invalid), (429, OverQuota)]
)
def test_problems_have_types(status: int, kind: type[Exception]) -> None:
    world = World([Answer(status, problem(status, "why"))], retry=NEVER)
    with pytest.raises(kind) as caught:
        world.run(calls.score(world.terms, TX, 100))
    assert caught.value.status == status  # type: ignore[attr-defined]
    assert str(caught.value) == f"{status} why: said"


def test_only_what_may_succeed_is_repeated() -> None:
    for status in (404, 409, 413, 422):
        world = World([Answer(status, problem(status))])
        with pytest.raises(Exception, match=str(status)):
            world.run(calls.score(world.terms, TX, 1000))
        assert len(world.sent) == 1
    # a proxy's own answer while a replica restarts is no problem body
    world = World([Answer(500, b"<html>"), Answer(429, problem(429), "1"), OK])
    assert isinstance(world.run(calls.score(world.terms, TX, 5000)), Decision)
    assert len(world.sent) == 3


def test_open_items_of_a_batch_are_sent_again_alone() -> None:
    def answer(*items: Any) -> Answer:
        return Answer(200, json.dumps({"decisions": items}).encode())

    refused = {"error": json.loads(problem(429))}
    wrong = {"error": json.loads(problem(422, "field"))}
    third = DECISION | {"transaction_id": "tx-3"}
    world = World([answer(DECISION, wrong, refused), answer(third)])
    given = world.run(calls.score_batch(world.terms, [TX, TX, TX], 1000))
    assert [getattr(item, "transaction_id", None) for item in given] == ["tx-1", None, "tx-3"]
    assert isinstance(given[1], ItemProblem)
    assert isinstance(given[1].problem, Invalid)
    assert [len(json.loads(step.body or b"{}")["transactions"]) for step in world.sent] == [3, 1]


def test_nobody_there_is_unreachable() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with Client("http://edge", transport=httpx.MockTransport(refuse), retry=Retry(attempts=2)) as client:
        with pytest.raises(Unreachable, match=r"GET /v1/model: ConnectError: refused"):
            client.model()


def routes(seen: list[httpx.Request]) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path == "/v1/labels":
            return httpx.Response(202)
        if request.url.path == "/v1/model":
            return httpx.Response(
                200,
                json={"model": "fraud", "version": "1", "policy_version": "1", "features_version": "x", "arm": "champion"},
            )  # fmt: skip
        return httpx.Response(200, json=DECISION)

    return answer


def test_ids_are_quoted_in_paths() -> None:
    seen: list[httpx.Request] = []
    with Client("http://edge", transport=httpx.MockTransport(routes(seen))) as client:
        assert client.decision("a/b ?c").transaction_id == "tx-1"
        assert client.model().version == "1"
    assert seen[0].url.raw_path == b"/v1/decisions/a%2Fb%20%3Fc"
