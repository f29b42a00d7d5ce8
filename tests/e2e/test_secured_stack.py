"""`tollgate up --secure`, as a user has it: everything works, no process lacks a right, and nobody says what only another may say."""

from __future__ import annotations

import json
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import KafkaError

from infra import stack
from infra.oncall.alerts import firing
from infra.oncall.query import values
from services.client import Client
from streams.contracts.deadline import MAX_DEADLINE_MS
from streams.log.topics import DECISIONS, FEATURES, OUTCOMES, ROLLOUTS, Topic
from streams.runtime.kafka.clients import new_reporting_producer
from streams.runtime.kafka.log_reader import read_span, whole_log
from streams.runtime.settings import Settings, acting_as, load_settings
from tests.support.running import run_cli, run_json
from tests.support.waiting import STALL_S, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]
REFUSED = re.compile(
    r"TOPIC_AUTHORIZATION|GROUP_AUTHORIZATION|CLUSTER_AUTHORIZATION|AuthorizationFailed|not authorized|NOPERM|WRONGPASS", re.IGNORECASE
)  # fmt: skip


@pytest.fixture(scope="module")
def secured(free_port_base: Callable[[], int]) -> Iterator[Settings]:
    """A whole secured stack, started by the command."""
    home = Path(tempfile.mkdtemp(prefix="tg-"))
    unsettled = stack.settings_for(home, free_port_base())
    try:
        up = run_cli(unsettled, "up", "--secure", "--port-base", str(unsettled.port_base), "--wait", "400", timeout_s=480)  # fmt: skip
        assert up.returncode == 0, up.stderr
        settings = load_settings(home)
        passwords = [path.read_text() for path in settings.secure_files.folder.glob("*.password")]
        assert not any(word in up.stdout + up.stderr for word in passwords)
        yield settings
    finally:
        stack.stop(stack.existing(home) or unsettled, purge=True)


def newest(settings: Settings, topic: Topic) -> list[dict[str, Any]]:
    found: list[Any] = []
    first, end = whole_log(settings.kafka, [topic.name])
    read_span(settings.kafka, first, end, found.extend)
    return [json.loads(record.value()) for record in found]


def refused_lines(settings: Settings) -> list[str]:
    """What processes and servers logged of a right that somebody lacked."""
    return [
        f"{path.name}: {line[:300]}"
        for path in sorted(settings.log_dir.glob("*.log"))
        for line in path.read_text(errors="replace").splitlines()
        if REFUSED.search(line)
    ]


def test_payments_are_decided_the_books_balance_and_no_process_lacks_a_right(secured: Settings) -> None:
    report = until(
        lambda: _settled(run_cli(secured, "status", "--json").stdout), 120, "a stack without problems"
    )
    assert report["secure"]
    summary = run_json(secured, "simulate", "--rate", "30", "--seconds", "10", "--seed", "17")
    assert (summary["missing"], summary["duplicated"], summary["dead_lettered"]) == (0, 0, 0)
    assert sum(summary["decided"].values()) == summary["produced"]
    assert run_json(secured, "reconcile", "--wait", "60")["balanced"]
    compared = run_json(secured, "parity", "--sample", "50")
    assert compared["compared"] and compared["unexplained"] == 0
    for command in (("decisions", "tail"), ("dead-letters", "list"), ("models", "list"), ("drift",), ("audit", "verify")):  # fmt: skip
        done = run_cli(secured, *command, "--json")
        assert done.returncode == 0, done.stderr
    # with the password of whoever runs commands
    assert values(secured.prometheus, "up")
    assert isinstance(firing(secured.alertmanager), list)
    for closed in (f"{secured.prometheus}/api/v1/query?query=up", f"{secured.alertmanager}/api/v2/alerts"):
        assert httpx.get(closed, timeout=60).status_code == 401
    card = newest(secured, DECISIONS)[-1]["card_id"]
    assert run_json(secured, "features", "show", "card", card)
    assert refused_lines(secured) == []


def test_http_asks_for_a_key_and_a_label_meets_its_decision(secured: Settings) -> None:
    payment = {
        "transaction_id": f"secured-{uuid.uuid4().hex[:8]}", "event_time": datetime.now(UTC).isoformat(),
        "card_id": "card-secured", "merchant_id": "m-secured", "amount_minor": 1299, "currency": "EUR",
    }  # fmt: skip
    longest = {"X-Deadline-Ms": str(MAX_DEADLINE_MS)}
    assert httpx.post(f"{secured.http}/v1/score", json=payment, timeout=90).status_code == 401
    key = run_json(secured, "access", "key", "add", "shop")["key"]
    with_key = {**longest, "Authorization": f"Bearer {key}"}
    answer = until(lambda: _ok(httpx.post(f"{secured.http}/v1/score", json=payment, headers=with_key, timeout=90)), 60, "the key to count")  # fmt: skip
    assert answer.json()["transaction_id"] == payment["transaction_id"]
    with Client(secured.http, key=key) as edge:
        assert edge.decision(payment["transaction_id"], 60_000).card_id == "card-secured"
    label = {
        "label": "fraud", "label_time": datetime.now(UTC).isoformat(), "source": "chargeback",
        **{name: payment[name] for name in ("transaction_id", "card_id", "merchant_id", "event_time")},
    }  # fmt: skip
    assert httpx.post(f"{secured.http}/v1/labels", json=label, headers=with_key, timeout=90).status_code == 202  # fmt: skip

    def outcome() -> dict[str, Any] | None:
        joined = (one for one in newest(secured, OUTCOMES) if one["decision"]["transaction_id"] == payment["transaction_id"])  # fmt: skip
        return next(joined, None)

    assert until(outcome, 60, "the outcome")["label"] == "fraud"
    assert refused_lines(secured) == []


def _settled(text: str) -> dict[str, Any] | None:
    """The report of `status`, once nothing is wrong; before, its problems are printed."""
    report: dict[str, Any] = json.loads(text)
    print(report["state"], report["problems"])
    return None if report["problems"] else report


def _ok(answer: httpx.Response) -> httpx.Response | None:
    return answer if answer.status_code == 200 else None


@pytest.mark.parametrize(
    ("principal", "topic"),
    [("operator", DECISIONS), ("producer", DECISIONS), ("edge", FEATURES), ("scoring", ROLLOUTS), ("trainer", ROLLOUTS)],
)  # fmt: skip
def test_what_another_says_is_refused_by_the_broker(secured: Settings, principal: str, topic: Topic) -> None:
    before = whole_log(secured.kafka, [topic.name])[1]
    said: list[Any] = []
    producer = new_reporting_producer(acting_as(secured, principal).kafka, "test", **{"enable.idempotence": False})  # fmt: skip
    producer.produce(topic.name, b'{"decision": "approve"}', key=b"fraud", partition=0, on_delivery=lambda error, _: said.append(error))  # fmt: skip
    assert producer.flush(STALL_S) == 0
    assert [error.code() for error in said] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    assert whole_log(secured.kafka, [topic.name])[1] == before


def test_the_form_is_remembered_and_kept_while_it_runs(secured: Settings) -> None:
    again = run_cli(secured, "up")
    assert again.returncode == 0, again.stderr
    assert load_settings(secured.root).secure
    other = run_cli(secured, "up", "--plain")
    assert other.returncode == 2 and "is secured: `tollgate down` first" in other.stderr
