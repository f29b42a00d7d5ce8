"""Redis loses everything while traffic flows: one command makes the state again, meanwhile decisions go on and say so."""

from __future__ import annotations

import json
import time

import httpx
import pytest
import redis

from features.online.claims import REBUILDING_KEY
from streams.settings import Settings
from tests.running import run_json, start_cli, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


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
        store.flushall()
        done = run_json(running_stack, "features", "rebuild")
        assert done["transactions"] > 500 and done["entities"] > 200
        assert store.get(REBUILDING_KEY) is None
        summary = json.loads(traffic.communicate(timeout=300)[0])
    finally:
        traffic.kill()
        traffic.wait(30)
    assert (summary["produced"], summary["missing"], summary["duplicated"]) == (9_000, 0, 0)
    assert run_json(running_stack, "reconcile", "--wait", "60")["balanced"] is True
    parity = run_json(running_stack, "parity", "--sample", "400")
    assert parity["unexplained"] == 0 and parity["identical"] > 300
    # and the state is used again
    tx = {
        "transaction_id": "tx-after-rebuild", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-after",
        "merchant_id": "m-after", "amount_minor": 1299, "currency": "EUR",
    }  # fmt: skip
    answer = httpx.post(f"{running_stack.http}/v1/score", json=tx, timeout=90).json()
    assert "card_features" not in (answer.get("degraded_by") or [])
