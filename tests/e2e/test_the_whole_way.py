"""End to end on real parts: events in, decisions out, for valid and invalid events on any partition."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import psutil
import pytest
from confluent_kafka import Producer

from features.transaction import Transaction
from models.decision import Decision
from services.client import Client, Conflict, Invalid
from streams.contracts.deadline import MAX_DEADLINE_MS
from streams.contracts.text.json_encoding import encode
from streams.runtime.dead_letters import decode_dead_letter
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.support.running import ends_of, read_topic, run_cli, run_json
from tests.support.waiting import until

#: a long deadline: the tests check decisions, not latency, on a busy machine
WITHIN_MS = 60_000
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


def transaction(**changes: Any) -> dict[str, Any]:
    return {
        "transaction_id": f"tx-{uuid.uuid4().hex[:12].translate(str.maketrans('0123456789', 'ghijklmnop'))}",
        "event_time": datetime.now(UTC).isoformat(),
        "card_id": "card-e2e",
        "merchant_id": "m-e2e",
        "amount_minor": 1299,
        "currency": "EUR",
        "device_id": "d-e2e",
        "channel": "ecom",
        "country": "FR",
        **changes,
    }


def produce(
    settings: Settings, values: list[bytes | None], key: str | None = "card-e2e", **config: Any
) -> None:
    producer = new_producer(settings.kafka, "test", **config)
    for value in values:
        producer.produce("transactions", key=key, value=value)
    flush(producer, 20)


def decided_since(
    settings: Settings, start: dict[int, int], wanted: set[str]
) -> dict[str, list[dict[str, Any]]]:
    """Decisions of the wanted transactions by id, once all have arrived."""

    def look() -> dict[str, list[dict[str, Any]]] | None:
        found: dict[str, list[dict[str, Any]]] = {}
        for record in read_topic(settings, "decisions", start):
            decision = json.loads(record.value())
            if decision["transaction_id"] in wanted:
                found.setdefault(decision["transaction_id"], []).append(decision)
        return found if set(found) == wanted else None

    result: dict[str, list[dict[str, Any]]] = until(look, 30, f"{len(wanted)} decisions")
    return result


def test_steady_traffic_is_scored_and_accounted_for(running_stack: Settings) -> None:
    summary = run_json(running_stack, "simulate", "--rate", "500", "--seconds", "8", "--seed", "7")
    assert summary["produced"] == 4000
    assert sum(summary["decided"].values()) == 4000
    assert summary["decided"]["not_scored"] == 0
    assert summary["missing"] == summary["duplicated"] == summary["dead_lettered"] == 0
    books = run_json(running_stack, "reconcile", "--wait", "20")
    assert books["balanced"] and books["in_flight"] == 0


BAD: list[tuple[bytes | None, str]] = [
    (None, "empty"),
    (b"", "empty"),
    (b"not json", "not_json"),
    (b"\xff\xfe{}", "not_json"),
    (b'{"transaction_id":"\xff"}', "not_utf8"),
    (b"[" * 5000, "field"),
    (b'{"a":' * 1500 + b"1" + b"}" * 1500, "not_json"),
    (json.dumps(transaction(amount_minor="12")).encode(), "field"),
    (json.dumps(transaction(amount_minor=-1)).encode(), "field"),
    (json.dumps(transaction(amount_minor=10**18)).encode(), "field"),
    (json.dumps(transaction(amount_minor=float("nan"))).encode(), "not_json"),
    (json.dumps(transaction(latitude=float("inf"))).encode(), "not_json"),
    (json.dumps(transaction(event_time="2026-11-21T10:15:30")).encode(), "field"),
    (json.dumps(transaction(event_time="2019-11-31T10:15:30Z")).encode(), "field"),
    (json.dumps(transaction(merchant_id="m" * 10_000)).encode(), "field"),
    (json.dumps(transaction(merchant_id="m" * 20_000)).encode(), "too_large"),
    (json.dumps(transaction(merchant_id="4111 1111 1111 1111")).encode(), "card_number"),
    (json.dumps(transaction(merchant_id="a\u0000b")).encode(), "unprintable"),
    (json.dumps({k: v for k, v in transaction().items() if k != "currency"}).encode(), "field"),
    (json.dumps(transaction(attributes={"basket_items": "seven"})).encode(), "attribute"),
]


def test_attributes_of_ones_own_go_the_whole_way(running_stack: Settings) -> None:
    start = ends_of(running_stack, "decisions", running_stack.partitions)
    own = {"loyalty_tier": "gold", "basket_items": 7, "undeclared": [1]}
    by_kafka, by_http = transaction(attributes=own), transaction(attributes=own)
    produce(running_stack, [json.dumps(by_kafka).encode()])
    answer = httpx.post(
        f"{running_stack.http}/v1/score",
        json=by_http,
        headers={"X-Deadline-Ms": str(MAX_DEADLINE_MS)},
        timeout=60,
    )
    assert answer.status_code == 200
    decided_since(running_stack, start, {by_kafka["transaction_id"], by_http["transaction_id"]})
    for sent in (by_kafka, by_http):

        def shown(sent: dict[str, Any] = sent) -> Any:
            found = run_json(running_stack, "decisions", "show", sent["transaction_id"])["transaction"]
            return found and found.get("attributes")

        assert until(shown, 30, "the payment's attributes") == {"loyalty_tier": "gold", "basket_items": 7}


def test_bad_input_goes_to_dead_letters_and_stops_nothing(running_stack: Settings) -> None:
    partitions = running_stack.partitions
    letters_from = ends_of(running_stack, "dead-letters", 1)
    decisions_from = ends_of(running_stack, "decisions", partitions)
    good = transaction()
    produce(running_stack, [value for value, _ in BAD] + [json.dumps(good).encode()])
    assert (
        len(decided_since(running_stack, decisions_from, {good["transaction_id"]})[good["transaction_id"]])
        == 1
    )
    letters = until(
        lambda: (lambda found: found if len(found) >= len(BAD) else None)(read_topic(running_stack, "dead-letters", letters_from)),
        30, "the dead letters",
    )  # fmt: skip
    decoded = [decode_dead_letter(record.value()) for record in letters]
    assert [letter.reason for letter in decoded] == [reason for _, reason in BAD]
    for letter, (value, _) in zip(decoded, BAD, strict=True):
        assert letter.source_topic == "transactions" and letter.source_offset >= 0 and letter.text
        if letter.reason == "card_number":
            assert b"4111 1111" not in (letter.original_bytes() or b"") and b"4111111111111111" not in (
                letter.original_bytes() or b""
            )
        else:
            assert letter.original_bytes() == value
    assert run_json(running_stack, "reconcile", "--wait", "20")["balanced"]


def test_records_placed_anywhere_reach_their_card(running_stack: Settings) -> None:
    """No key, another key, librdkafka's own partitioner: all transactions of a card reach one partition, each decided once."""
    partitions = running_stack.partitions
    start = ends_of(running_stack, "decisions", partitions)
    sent = [transaction(card_id=f"card-placed-{i % 3}", merchant_id=f"m-{i}") for i in range(30)]
    values = [json.dumps(tx).encode() for tx in sent]
    produce(running_stack, list(values[:10]), key=None)
    produce(running_stack, list(values[10:20]), key="another-key")
    foreign = Producer({"bootstrap.servers": running_stack.kafka})
    for tx, value in zip(sent[20:], values[20:], strict=True):
        foreign.produce("transactions", key=tx["card_id"], value=value)
    assert foreign.flush(20) == 0
    found = decided_since(running_stack, start, {tx["transaction_id"] for tx in sent})
    assert all(len(decisions) == 1 for decisions in found.values())
    books = run_json(running_stack, "reconcile", "--wait", "20")
    assert books["balanced"]
    profile = run_json(running_stack, "features", "show", "card", "card-placed-0")
    assert "10" in json.dumps(profile)


def test_a_transaction_sent_twice_is_decided_once(running_stack: Settings) -> None:
    start = ends_of(running_stack, "decisions", running_stack.partitions)
    twice, after = transaction(card_id="card-twice"), transaction(card_id="card-twice", amount_minor=7)
    body = json.dumps(twice).encode()
    produce(running_stack, [body, body, json.dumps(after).encode()], key="card-twice")
    found = decided_since(running_stack, start, {twice["transaction_id"], after["transaction_id"]})
    assert len(found[twice["transaction_id"]]) == 1


def test_tenants_number_their_own_payments_and_an_id_stands_for_one_payment(running_stack: Settings) -> None:
    """On Kafka: three tenants' payments of one id are three; another payment under a known id is a dead letter that names the first."""
    start = ends_of(running_stack, "decisions", running_stack.partitions)
    letters_from = ends_of(running_stack, "dead-letters", 1)
    tx = transaction(card_id="card-tenants")
    tenants = [tx, {**tx, "tenant": "shop-a"}, {**tx, "tenant": "shop-b"}]
    others = [
        {**tx, **change} for change in ({"amount_minor": 5}, {"merchant_id": "m-x"}, {"card_id": "card-x"})
    ]
    produce(running_stack, [json.dumps(value).encode() for value in tenants], key="card-tenants")
    wanted = {tx["transaction_id"]}
    until(
        lambda: len(decided_since(running_stack, start, wanted)[tx["transaction_id"]]) == 3,
        30,
        "three decisions",
    )
    produce(running_stack, [json.dumps(value).encode() for value in [*others, *tenants]], key="card-tenants")
    letters = until(
        lambda: (lambda found: found if len(found) >= 3 else None)(read_topic(running_stack, "dead-letters", letters_from)),
        30, "the dead letters",
    )  # fmt: skip
    decoded = [decode_dead_letter(record.value()) for record in letters]
    assert [letter.reason for letter in decoded] == ["conflict"] * 3
    assert all(f"transaction {tx['transaction_id']} of tenant default" in letter.text for letter in decoded)
    assert run_json(running_stack, "reconcile", "--wait", "20")["balanced"]
    found = decided_since(running_stack, start, wanted)[tx["transaction_id"]]
    assert sorted(decision["tenant"] for decision in found) == ["default", "shop-a", "shop-b"]
    url = f"{running_stack.http}/v1/decisions/{tx['transaction_id']}"
    for tenant in ("default", "shop-a", "shop-b"):
        looked_up = until(
            lambda tenant=tenant: (lambda r: r if r.status_code == 200 else None)(
                httpx.get(url, params={"tenant": tenant}, timeout=90)
            ),
            20, "the decision by its tenant",
        )  # fmt: skip
        assert looked_up.json()["tenant"] == tenant


def test_http_and_stream_share_one_ledger(running_stack: Settings) -> None:
    """The HTTP edge's decision equals the one on `decisions`, can be read by id, and is the same if requested twice."""
    start = ends_of(running_stack, "decisions", running_stack.partitions)
    tx = transaction(card_id="card-http")
    first = httpx.post(f"{running_stack.http}/v1/score", json=tx, timeout=90)
    assert first.status_code == 200, first.text
    again = httpx.post(f"{running_stack.http}/v1/score", json=tx, timeout=90)
    assert again.json() == first.json()
    other = httpx.post(f"{running_stack.http}/v1/score", json={**tx, "amount_minor": 5}, timeout=90)
    assert other.status_code == 409
    found = decided_since(running_stack, start, {tx["transaction_id"]})[tx["transaction_id"]]
    assert found == [first.json()]
    looked_up = until(
        lambda: (lambda r: r if r.status_code == 200 else None)(
            httpx.get(f"{running_stack.http}/v1/decisions/{tx['transaction_id']}", timeout=90)
        ),
        20, "the decision by its id",
    )  # fmt: skip
    assert looked_up.json() == first.json()
    bad = httpx.post(f"{running_stack.http}/v1/score", json=transaction(amount_minor="x"), timeout=90)
    assert bad.status_code == 422 and "amount_minor" in bad.text


def test_requests_come_in_through_haproxy(running_stack: Settings) -> None:
    port = int(running_stack.http.rsplit(":", 1)[1])
    listening = {
        psutil.Process(held.pid).name()
        for held in psutil.net_connections("tcp")
        if held.status == psutil.CONN_LISTEN and held.laddr.port == port and held.pid
    }
    assert listening == {"haproxy"}


def test_the_client_goes_the_same_way(running_stack: Settings) -> None:
    start = ends_of(running_stack, "decisions", running_stack.partitions)
    given, more = (
        msgspec.json.decode(json.dumps(transaction(card_id="card-client")), type=Transaction)
        for _ in range(2)
    )
    with Client(running_stack.http) as edge:
        first = edge.score(given, WITHIN_MS)
        assert edge.score(given, WITHIN_MS) == first
        with pytest.raises(Conflict):
            edge.score(msgspec.structs.replace(given, amount_minor=5), WITHIN_MS)
        with pytest.raises(Invalid, match="amount_minor"):
            edge.score(msgspec.structs.replace(given, amount_minor=-1), WITHIN_MS)
        again, second = edge.score_batch([given, more], WITHIN_MS)
        assert again == first
        assert isinstance(second, Decision) and second.transaction_id == more.transaction_id
        assert edge.model(WITHIN_MS).version == first.model_version
        found = decided_since(running_stack, start, {given.transaction_id, more.transaction_id})
        assert found == {d.transaction_id: [json.loads(encode(d))] for d in (first, second)}
        assert edge.decision(given.transaction_id, WITHIN_MS) == first


def test_a_label_becomes_an_outcome(running_stack: Settings) -> None:
    start = ends_of(running_stack, "outcomes", running_stack.partitions)
    decisions_from = ends_of(running_stack, "decisions", running_stack.partitions)
    tx = transaction(card_id="card-label")
    produce(running_stack, [json.dumps(tx).encode()], key="card-label")
    decided_since(running_stack, decisions_from, {tx["transaction_id"]})
    label = {
        "transaction_id": tx["transaction_id"], "label": "fraud", "label_time": datetime.now(UTC).isoformat(),
        "source": "chargeback", "card_id": tx["card_id"], "merchant_id": tx["merchant_id"], "event_time": tx["event_time"],
    }  # fmt: skip
    assert httpx.post(f"{running_stack.http}/v1/labels", json=label, timeout=90).status_code == 202

    def outcome() -> dict[str, Any] | None:
        for record in read_topic(running_stack, "outcomes", start):
            value: dict[str, Any] = json.loads(record.value())
            if value["decision"]["transaction_id"] == tx["transaction_id"]:
                return value
        return None

    found = until(outcome, 20, "the outcome")
    assert found["label"] == "fraud" and found["decision"]["card_id"] == "card-label"


def test_served_features_are_recomputed_from_the_log_to_the_bit(running_stack: Settings) -> None:
    run_json(running_stack, "simulate", "--rate", "300", "--seconds", "4", "--seed", "21", "--cards", "200")
    result = run_json(running_stack, "parity", "--sample", "200")
    assert result["compared"] >= 100
    assert result["unexplained"] == 0
    assert result["identical"] + sum(result["explained"].values()) == result["compared"]


def test_one_decision_is_shown_whole(running_stack: Settings) -> None:
    body = transaction(channel="atm")
    longest = {"X-Deadline-Ms": str(MAX_DEADLINE_MS)}
    response = httpx.post(f"{running_stack.http}/v1/score", json=body, headers=longest, timeout=60)
    assert response.status_code == 200, response.text
    answer = response.json()

    def shown() -> dict[str, Any] | None:
        # the edge answers before the processor has read the payment and the decision stands on the log
        done = run_cli(running_stack, "decisions", "show", body["transaction_id"], "--json")
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"features": None}
        return found if found["features"] is not None else None

    found: dict[str, Any] = until(shown, 30, "the decision with its features")
    assert found["decision"]["transaction_id"] == body["transaction_id"]
    assert [
        found["decision"][name] for name in ("decision", "score", "reasons", "rules", "model_version")
    ] == [answer[name] for name in ("decision", "score", "reasons", "rules", "model_version")]
    assert found["features"]["amount"] == body["amount_minor"] and found["features"]["channel"] == 2
    assert found["transaction"]["device_id"] == "d-e2e" and 0 < found["thresholds"]["review"] <= 1
    assert [each["name"] for each in found["matched"]] == answer["rules"]


#: nothing has a value before the first time: a drift test (minutes of traffic), a label, a row of a challenger
EMPTY_AT_FIRST = (
    "tollgate_outcomes",
    "tollgate_drift_statistic",
    "tollgate_drift_rows",
    "tollgate_challenger",
    "tollgate_reconciliation_faults",
)


def test_every_panel_of_every_dashboard_has_data_on_a_running_stack(running_stack: Settings) -> None:
    from infra.dashboards.definition import DASHBOARDS
    from infra.dashboards.series import series_of

    produce(running_stack, [b"not a transaction"])
    run_json(running_stack, "simulate", "--rate", "100", "--seconds", "8", "--seed", "8")

    def empty() -> list[str]:
        """Panels without a value in the last five minutes; a query that Prometheus refuses raises."""
        now_s = time.time()
        return [
            f"{dashboard.name}: {panel.title}"
            for dashboard in DASHBOARDS
            for panel in dashboard.panels
            if not series_of(running_stack.prometheus, panel, now_s - 300, now_s, 5)
            and not any(name in query.expr for query in panel.queries for name in EMPTY_AT_FIRST)
        ]

    until(lambda: not empty(), 60, f"data on every panel; none on {empty()}")
    shown = run_cli(running_stack, "dashboard", "oncall", "--since", "5m")
    assert shown.returncode == 0 and "now: " in shown.stdout and "Processes that answer" in shown.stdout, (
        shown.stderr
    )
