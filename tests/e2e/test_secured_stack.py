"""A secured stack without a model: its processes do their work with the rights that they have, and nobody says what only another may say."""

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

from infra import stack
from infra.oncall.alerts import firing
from infra.oncall.query import values
from streams.contracts.deadline import MAX_DEADLINE_MS
from streams.log.topics import DECISIONS, FEATURES, OUTCOMES, ROLLOUTS, TRANSACTIONS, Topic
from streams.runtime.kafka.clients import new_reporting_producer
from streams.runtime.kafka.log_reader import end_of, read_span, whole_log
from streams.runtime.settings import Settings, acting_as
from tests.attack.attacker import is_refused
from tests.attack.registry import attacks
from tests.support.running import run_json
from tests.support.waiting import STALL_S, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
PARTS = ("kafka", "redis", "oncall", "prometheus", "alertmanager", "processor-0", "labels-0", "archive-0", "rollout-0", "scoring")  # fmt: skip
REFUSED = re.compile(
    r"AUTHORIZATION|AuthorizationFailed|not authorized|NOPERM|EXECABORT|WRONGPASS", re.IGNORECASE
)
PAYMENTS = 100
#: what needs no model and takes seconds; ``make attack SECURE=1`` runs them all
ATTACKS = ("a decision copied from a small payment", "forged retraining", "labels of others and of the future", "forged dead letters that are sent again")  # fmt: skip


@pytest.fixture(scope="module")
def secured(free_port_base: Callable[[], int]) -> Iterator[Settings]:
    settings = stack.settings_for(Path(tempfile.mkdtemp(prefix="tg-")), free_port_base(), secure=True)
    try:
        started = stack.start(settings, only=PARTS, wait_s=300)
        until(lambda: answers(started), 200, "the edge")
        yield started
    finally:
        stack.stop(settings, purge=True)


def answers(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.http}/healthz", timeout=STALL_S).status_code == 200
    except httpx.HTTPError:
        return False


def payment(name: str) -> dict[str, Any]:
    return {
        "transaction_id": name, "event_time": datetime.now(UTC).isoformat(), "card_id": f"card-{name}",
        "merchant_id": "m-secured", "amount_minor": 1299, "currency": "EUR",
    }  # fmt: skip


def outcomes(settings: Settings) -> list[dict[str, Any]]:
    found: list[Any] = []
    first, end = whole_log(settings.kafka, [OUTCOMES.name])
    read_span(settings.kafka, first, end, found.extend)
    return [json.loads(record.value()) for record in found]


def test_payments_of_a_producer_and_of_http_are_decided_and_a_label_joins(secured: Settings) -> None:
    producer = new_reporting_producer(acting_as(secured, "producer").kafka, "test")
    for i in range(PAYMENTS):
        made = payment(f"secured-{i}")
        producer.produce(TRANSACTIONS.name, json.dumps(made).encode(), made["card_id"])
    assert producer.flush(STALL_S) == 0
    by_http = payment(f"secured-{uuid.uuid4().hex[:4]}-http")
    assert httpx.post(f"{secured.http}/v1/score", json=by_http, timeout=STALL_S).status_code == 401
    key = run_json(secured, "access", "key", "add", "shop")["key"]
    headers = {"X-Deadline-Ms": str(MAX_DEADLINE_MS), "Authorization": f"Bearer {key}"}

    def post(path: str, body: dict[str, Any], wanted: int) -> bool:
        return httpx.post(f"{secured.http}{path}", json=body, headers=headers, timeout=STALL_S).status_code == wanted  # fmt: skip

    until(lambda: post("/v1/score", by_http, 200), 60, "the key to count")
    label = {
        "label": "fraud", "label_time": datetime.now(UTC).isoformat(), "source": "chargeback",
        **{name: by_http[name] for name in ("transaction_id", "card_id", "merchant_id", "event_time")},
    }  # fmt: skip
    assert post("/v1/labels", label, 202)
    until(lambda: sum(end_of(secured.kafka, [DECISIONS.name])[DECISIONS.name].values()) == PAYMENTS + 1, STALL_S, "all decisions")  # fmt: skip
    joined = until(lambda: outcomes(secured), STALL_S, "the outcome")
    assert [one["decision"]["transaction_id"] for one in joined] == [by_http["transaction_id"]]
    assert run_json(secured, "reconcile", "--wait", "60")["balanced"]


def test_the_operator_sees_metrics_and_alerts_and_others_do_not(secured: Settings) -> None:
    assert values(secured.prometheus, "up")
    assert isinstance(firing(secured.alertmanager), list)
    for closed in (f"{secured.prometheus}/api/v1/query?query=up", f"{secured.alertmanager}/api/v2/alerts"):
        assert httpx.get(closed, timeout=STALL_S).status_code == 401


def test_no_process_lacks_a_right(secured: Settings) -> None:
    lines = [
        f"{path.name}: {line[:300]}"
        for path in sorted(secured.log_dir.glob("*.log"))
        for line in path.read_text(errors="replace").splitlines()
        if REFUSED.search(line)
    ]
    assert lines == []


@pytest.mark.parametrize("name", ATTACKS)
def test_the_system_holds(secured: Settings, name: str) -> None:
    finding = attacks()[name](secured)
    assert finding.held, finding.text


@pytest.mark.parametrize(
    ("principal", "topic"),
    [("operator", DECISIONS), ("producer", DECISIONS), ("edge", FEATURES), ("scoring", ROLLOUTS), ("trainer", ROLLOUTS)],
)  # fmt: skip
def test_what_another_says_is_refused_by_the_broker(secured: Settings, principal: str, topic: Topic) -> None:
    before = end_of(secured.kafka, [topic.name])
    assert is_refused(acting_as(secured, principal).kafka, topic.name)
    assert end_of(secured.kafka, [topic.name]) == before


def test_oncall_sees_when_each_certificate_ends(secured: Settings) -> None:
    left = "min by (certificate) (tollgate_certificate_ends_timestamp_seconds) - time()"

    def shown() -> dict[str, float]:
        return {labels["certificate"]: value for labels, value in values(secured.prometheus, left)}

    until(lambda: len(shown()) == 3, STALL_S, "three certificates")
    found = shown()
    assert found.keys() == {"kafka", "redis", "authority"}
    assert (
        found["kafka"] == found["redis"] and 390 < found["kafka"] / 86_400 < 397 < found["authority"] / 86_400
    )
    assert "CertificateExpiring" not in {one.alert for one in firing(secured.alertmanager)}
