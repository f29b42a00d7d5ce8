"""Edge, processor, scoring and labels worker on a real broker: nobody who may produce decides a payment, and no stranger's label counts."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

from infra import stack
from infra.stack.tools import find_tools
from services.scoring.http.app import build_app
from services.scoring.http.wiring import Parts
from services.scoring.model.serving import NOTHING
from services.scoring.stream.worker import StreamScorer
from streams.audit import end_of
from streams.log.other_catalogues import Layouts
from streams.log.records import HEADER_APPENDED_MS, HEADER_DEADLINE_MS, HEADER_DECIDED
from streams.log.topics import ALL, DEAD_LETTERS, DECISIONS, LABELS, OUTCOMES, TRANSACTIONS
from streams.runtime.dead_letters import decode_dead_letter
from streams.runtime.edge_keys import retire, rotate
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.support.running import ends_of, read_topic
from tests.support.waiting import until

SOON_S = 120.0


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[Settings]:
    if not find_tools().real_kafka:
        pytest.skip("no real Kafka here: it needs Java 17 and its jars (`make setup`)")
    settings = stack.settings_for(tmp_path_factory.mktemp("trust"), free_port_base())
    only = ("kafka", "redis", "processor-0", "labels-0")
    ended, live = threading.Event(), SimpleNamespace(serving=NOTHING)
    scorer: StreamScorer | None = None
    try:
        settings = stack.start(settings, only=only, wait_s=120)
        end_of(settings.kafka, [topic.name for topic in ALL], timeout_s=SOON_S)
        model: Any = live
        scorer = StreamScorer(settings, "scoring-test", model, Layouts({}.get), ended)
        scorer.start()
        yield settings
    finally:
        ended.set()
        if scorer is not None:
            scorer.join(SOON_S)
        stack.stop(settings, purge=True)


def payment(**changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    name = uuid.uuid4().hex[:12].translate(str.maketrans("0123456789", "ghijklmnop"))
    return {
        "transaction_id": f"tx-{name}", "event_time": now, "card_id": f"card-{name}", "merchant_id": "m-trust", "amount_minor": 100,
        "currency": "EUR", **changes,
    }  # fmt: skip


def score_over_http(settings: Settings, body: dict[str, Any]) -> dict[str, Any]:
    async def go() -> dict[str, Any]:
        parts = Parts(settings, "edge-test", threading.Event())
        edge = await parts.open()
        try:
            transport = httpx.ASGITransport(build_app(edge))
            async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
                answer = await client.post("/v1/score", json=body, headers={"X-Deadline-Ms": "10000"})
                assert answer.status_code == 200, answer.text
                return dict(answer.json())
        finally:
            await parts.close()

    return asyncio.run(go())


def send(settings: Settings, topic: str, *records: tuple[dict[str, Any], list[tuple[str, bytes]]]) -> None:
    producer = new_producer(settings.kafka, "attacker")
    for value, headers in records:
        producer.produce(topic, key=value["card_id"], value=msgspec.json.encode(value), headers=headers)
    flush(producer, 30)


def decided(settings: Settings, start: dict[int, int], *sent: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The first decision of each, once all are there."""
    wanted, found = {tx["transaction_id"] for tx in sent}, {}

    def all_there() -> bool:
        for record in read_topic(settings, DECISIONS.name, start):
            decision = msgspec.json.decode(record.value())
            if decision["transaction_id"] in wanted:
                found.setdefault(decision["transaction_id"], decision)
        return len(found) == len(wanted)

    until(all_there, SOON_S, "decisions")
    return found


def published(settings: Settings, start: dict[int, int], tx: dict[str, Any]) -> Any:
    """The record that the edge has published."""
    (record,) = (
        record
        for record in read_topic(settings, TRANSACTIONS.name, start)
        if tx["transaction_id"].encode() in (record.value() or b"")
    )
    return record


def test_the_edge_s_decision_is_believed_and_a_copy_of_it_is_not(running: Settings) -> None:
    start = ends_of(running, DECISIONS.name, running.partitions)
    before = ends_of(running, TRANSACTIONS.name, running.partitions)
    small = payment()
    answer = score_over_http(running, small)
    assert decided(running, start, small)[small["transaction_id"]] == answer
    carried = dict(published(running, before, small).headers())[HEADER_DECIDED]
    large = [payment(card_id=small["card_id"], amount_minor=90_000_000) for _ in range(5)]
    renamed = [
        carried.replace(small["transaction_id"].encode(), tx["transaction_id"].encode()) for tx in large
    ]
    odd: list[list[tuple[str, bytes]]] = [
        [(HEADER_DECIDED, b"")], [(HEADER_APPENDED_MS, b"0")], [(HEADER_DEADLINE_MS, b"9" * 18)], [("traceparent", b"\xff")],
    ]  # fmt: skip
    others = [payment() for _ in odd]
    forged = [[(HEADER_DECIDED, header)] for header in renamed]
    send(running, TRANSACTIONS.name, *zip([*large, *others], [*forged, *odd], strict=True))
    made = decided(running, start, *large, *others)
    for tx in large:
        one = made[tx["transaction_id"]]
        assert (one["decided_at"], one["latency_ms"]) != (answer["decided_at"], answer["latency_ms"])
    assert max(one["latency_ms"] for one in made.values()) < 1000 * SOON_S
    page = httpx.get(f"http://127.0.0.1:{running.metrics_port('processor-0')}/metrics").text
    assert 'tollgate_forgeries_refused_total{reason="wrong",what="tollgate-decided"} 5.0' in page
    assert 'tollgate_headers_ignored_total{header="traceparent"} 1.0' in page


def test_keys_are_rotated_while_all_runs(running: Settings) -> None:
    for change in (rotate, retire):
        change(running.edge_keys_path)
        start = ends_of(running, DECISIONS.name, running.partitions)
        tx = payment()
        answer = score_over_http(running, tx)
        assert decided(running, start, tx)[tx["transaction_id"]] == answer


def test_labels_count_for_their_own_payment_only(running: Settings) -> None:
    decisions, outcomes = (ends_of(running, t.name, running.partitions) for t in (DECISIONS, OUTCOMES))
    letters = ends_of(running, DEAD_LETTERS.name, 1)
    tx = payment()
    send(running, TRANSACTIONS.name, (tx, []))
    decided(running, decisions, tx)
    label = {
        **{name: tx[name] for name in ("transaction_id", "card_id", "merchant_id", "event_time")},
        "label": "fraud", "label_time": datetime.now(UTC).isoformat(), "source": "chargeback",
    }  # fmt: skip
    wrong = [
        {"label_time": "2099-01-01T00:00:00Z", "label": "legit"},
        {"merchant_id": "m-other", "label": "legit"},
        {"transaction_id": "tx-that-never-was"},
    ]
    send(running, LABELS.name, *(({**label, **change}, []) for change in (*wrong, {})))

    def joined() -> list[str]:
        records = read_topic(running, OUTCOMES.name, outcomes)
        return [msgspec.json.decode(record.value())["label"] for record in records]

    until(lambda: bool(joined()), SOON_S, "the outcome")
    until(lambda: len(read_topic(running, DEAD_LETTERS.name, letters)) >= 2, SOON_S, "the dead letters")
    refused = [decode_dead_letter(r.value()) for r in read_topic(running, DEAD_LETTERS.name, letters)]
    assert sorted((letter.reason, letter.source_topic) for letter in refused) == [
        ("label_mismatch", "labels"), ("label_time_ahead", "labels"),
    ]  # fmt: skip
    assert joined() == ["fraud"]
