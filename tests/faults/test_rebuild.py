"""Redis loses all data during traffic: one command rebuilds the state; meanwhile decisions continue, marked as degraded."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import redis

from features.store.partition_lease import REBUILDING_KEY
from features.transaction import Transaction
from streams.contracts.text.json_encoding import encode
from streams.log.topics import DECISIONS, TRANSACTIONS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.faults.drill.breakages import empty_store
from tests.support.running import ends_of, read_topic, run_cli, run_json, start_cli
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


#: missing features of a decision from the transaction alone, if it names every entity
ALL_MISSING = ["card_features", "merchant_features", "device_features", "ip_features", "customer_features"]


def works_without_state(settings: Settings) -> bool:
    """Whether every processor reports it."""
    for number in range(settings.processors):
        port = settings.metrics_port(f"processor-{number}")
        try:
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        except httpx.HTTPError:
            return False
        if not re.search(r"^tollgate_state_rebuilding(\{.*\})? 1\.0$", text, re.MULTILINE):
            return False
    return True


def decided_meanwhile(settings: Settings) -> list[Any]:
    """The decisions of twenty transactions that name every entity, sent now."""
    begin = ends_of(settings, DECISIONS.name, settings.partitions)
    producer = new_producer(settings.kafka, "test-rebuild")
    ids = {f"tx-meanwhile-{i}" for i in range(20)}
    for i, transaction_id in enumerate(sorted(ids)):
        tx = Transaction(
            transaction_id=transaction_id, event_time=datetime.now(UTC), card_id=f"card-meanwhile-{i}", merchant_id="m-1",
            amount_minor=1299, currency="EUR", device_id="d-1", ip="203.0.113.7", customer_id="cu-1",
        )  # fmt: skip
        producer.produce(TRANSACTIONS.name, key=tx.card_id, value=encode(tx))
    flush(producer, 60)

    def decided() -> list[Any]:
        records = read_topic(settings, DECISIONS.name, begin, timeout_s=60)
        found = [json.loads(record.value()) for record in records]
        found = [decision for decision in found if decision["transaction_id"] in ids]
        return found if len(found) >= len(ids) else []

    return list(until(decided, 90, "decisions without state"))


def assert_degraded(settings: Settings, decisions: list[Any]) -> None:
    """The decisions state that they are degraded and why, over HTTP too."""
    assert len(decisions) == 20
    for decision in decisions:
        assert decision["status"] == "degraded", decision
        assert set(ALL_MISSING) <= set(decision["degraded_by"]), decision
    tx = {
        "transaction_id": "tx-http-meanwhile", "event_time": datetime.now(UTC).isoformat(), "card_id": "card-meanwhile",
        "merchant_id": "m-1", "amount_minor": 1299, "currency": "EUR",
    }  # fmt: skip
    answer = httpx.post(f"{settings.http}/v1/score", json=tx, timeout=90).json()
    assert answer["status"] == "degraded" and {"card_features", "merchant_features"} <= set(
        answer["degraded_by"]
    )


def test_an_empty_store_is_rebuilt_under_load(running_stack: Settings) -> None:
    traffic = start_cli(
        running_stack,
        "simulate",
        "--rate",
        "200",
        "--seconds",
        "45",
        "--seed",
        "41",
        "--wait",
        "120",
        "--json",
    )
    store = redis.Redis.from_url(running_stack.redis)
    try:
        until(lambda: store.dbsize() > 200, 60, "state of the traffic")
        time.sleep(5)
        empty_store(running_stack)
        until(lambda: works_without_state(running_stack), 120, "the processors without state")
        assert_degraded(running_stack, decided_meanwhile(running_stack))
        again = run_cli(running_stack, "features", "rebuild", "--json")
        assert again.returncode == 0, again.stderr
        done = json.loads(again.stdout)
        assert done["transactions"] > 500 and done["entities"] > 200
        # progress goes to standard error, at least a line that all records were read
        assert re.search(r"^([\d,]+) of \1 records, [\d,]+ a second", again.stderr, re.MULTILINE), (
            again.stderr
        )
        assert store.get(REBUILDING_KEY) is None
        summary = json.loads(traffic.communicate(timeout=300)[0])
    finally:
        traffic.kill()
        traffic.wait(30)
    assert (summary["produced"], summary["missing"], summary["duplicated"]) == (9_000, 0, 0)
    assert summary["decided"]["degraded"] > 0
    assert run_json(running_stack, "reconcile", "--wait", "60")["balanced"] is True
    parity = run_json(running_stack, "parity", "--sample", "400")
    assert parity["unexplained"] == 0 and parity["identical"] > 300
    # the state is used again
    tx = {
        "transaction_id": "tx-after-rebuild", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-after",
        "merchant_id": "m-after", "amount_minor": 1299, "currency": "EUR",
    }  # fmt: skip
    answer = httpx.post(f"{running_stack.http}/v1/score", json=tx, timeout=90).json()
    assert "card_features" not in (answer.get("degraded_by") or [])
