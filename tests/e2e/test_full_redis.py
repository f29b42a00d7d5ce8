"""Redis reaches its limit under traffic, and gets room again: decisions go on, nothing is lost or doubled, no worker restarts."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import redis

from infra import stack
from infra.stack.health.status import answering
from infra.stack.supervisor import Supervisor
from streams.runtime.settings import Settings
from tests.support.running import ends_of, run_json, start_cli
from tests.support.waiting import STALL_S, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
LIMIT = "maxmemory"


def score(settings: Settings, transaction_id: str) -> dict[str, Any]:
    body = {
        "transaction_id": transaction_id, "event_time": datetime.now(UTC).isoformat(), "card_id": "card-full",
        "merchant_id": "m-full", "amount_minor": 1299, "currency": "EUR",
    }  # fmt: skip
    answer = httpx.post(
        f"{settings.http}/v1/score", json=body, headers={"X-Deadline-Ms": "9000"}, timeout=STALL_S
    )
    assert answer.status_code == 200, answer.text
    decision: dict[str, Any] = answer.json()
    return decision


#: whose restarts would delay decisions
ON_THE_WAY = ("processor-0", "labels-0", "scoring", "scoring-stream-0", "scoring-http-0")


def restarts(settings: Settings) -> dict[str, int]:
    listed = stack.processes(settings)
    return {process["name"]: process["restarts"] for process in listed if process["name"] in ON_THE_WAY}


def is_full(settings: Settings) -> bool:
    """What the processor says of itself."""
    text = httpx.get(f"http://127.0.0.1:{settings.metrics_port('processor-0')}/metrics", timeout=STALL_S).text
    return "tollgate_store_full 1.0" in text


def test_decisions_go_on_while_redis_is_full(running_stack: Settings) -> None:
    store = redis.Redis.from_url(running_stack.redis)
    limit, before = store.config_get(LIMIT)[LIMIT], restarts(running_stack)
    name = uuid.uuid4().hex[:8]
    assert score(running_stack, f"room-{name}")["status"] == "scored"
    traffic = start_cli(
        running_stack, "simulate", "--rate", "50", "--seconds", "25", "--seed", "77", "--json"
    )
    try:
        store.config_set(LIMIT, "1mb")
        until(lambda: is_full(running_stack), STALL_S, "a chunk that Redis has no room for")
        assert "idempotency" in score(running_stack, f"full-{name}")["degraded_by"]
        report = stack.report(running_stack)
        assert report["state"] == "degraded"
        assert any("Redis uses" in problem for problem in report["problems"])
        assert traffic.poll() is None
    finally:
        store.config_set(LIMIT, limit)
    until(lambda: not is_full(running_stack), STALL_S, "all that waited to be written")
    assert "idempotency" not in score(running_stack, f"after-{name}")["degraded_by"]
    out, err = traffic.communicate(timeout=120)
    assert traffic.returncode == 0, err
    summary = json.loads(out)
    assert (summary["missing"], summary["duplicated"]) == (0, 0)
    assert summary["decided"]["not_scored"] == 0
    assert restarts(running_stack) == before
    assert run_json(running_stack, "reconcile")["balanced"]
    assert run_json(running_stack, "parity", "--sample", "300")["unexplained"] == 0


def test_what_waited_while_scoring_was_away_is_decided_by_the_live_model(running_stack: Settings) -> None:
    undecided = run_json(running_stack, "reconcile")["not_scored"]
    supervisor = Supervisor(running_stack)
    supervisor.stop("scoring")
    until(lambda: supervisor.states()["scoring"]["statename"] == "STOPPED", STALL_S, "scoring to stop")
    before = sum(ends_of(running_stack, "features", running_stack.partitions).values())
    traffic = start_cli(running_stack, "simulate", "--rate", "50", "--seconds", "5", "--seed", "78", "--json")
    try:
        until(
            lambda: sum(ends_of(running_stack, "features", running_stack.partitions).values()) > before,
            STALL_S,
            "features to wait",
        )
    finally:
        supervisor.start("scoring")
    # it may give up before scoring is there again: what counts is what is decided in the end
    out, err = traffic.communicate(timeout=240)
    assert json.loads(out)["produced"] == 250, err
    until(lambda: answering(running_stack), 180, "the edge to be ready again")
    until(lambda: run_json(running_stack, "reconcile")["in_flight"] == 0, 120, "all to be decided")
    totals = run_json(running_stack, "reconcile")
    assert totals["balanced"]
    assert totals["not_scored"] == undecided
