"""Whoever may produce, post or label is believed in nothing that is not his to say; and no card number stays readable."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec

from features.store.redis_client import RespClient
from streams.log import topics
from streams.log.records import HEADER_APPENDED_MS, HEADER_DEADLINE_MS, HEADER_DECIDED
from streams.log.topics import DEAD_LETTERS, DECISIONS, LABELS, TRANSACTIONS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.secured import BROKER, REBUILD
from streams.runtime.settings import Settings, acting_as
from tests.attack.attacker import edge, writer
from tests.attack.bystanders import payment
from tests.attack.registry import Finding, attack
from tests.support.card_spellings import SPELLINGS, spelled
from tests.support.running import ends_of, read_topic
from tests.support.waiting import STALL_S

WITHIN_S = 60.0
#: a test number of a card scheme
NUMBER = "4111111111111111"


@attack("a decision copied from a small payment")
def copied_decision(settings: Settings) -> Finding:
    """Five payments of 900,000.00 and one more, with the header of a small one, renamed."""
    starts = {
        topic.name: ends_of(settings, topic.name, settings.partitions) for topic in (TRANSACTIONS, DECISIONS)
    }
    small = payment(f"card-{uuid.uuid4().hex[:6]}x", amount_minor=100)
    _score(settings, small)
    carried = next(
        dict(record.headers())[HEADER_DECIDED]
        for record in read_topic(settings, TRANSACTIONS.name, starts[TRANSACTIONS.name])
        if small["transaction_id"].encode() in (record.value() or b"")
    )
    sent = {}
    for _ in range(5):
        large = payment(small["card_id"], amount_minor=90_000_000)
        sent[large["transaction_id"]] = large
        renamed = carried.replace(small["transaction_id"].encode(), large["transaction_id"].encode())
        _produce(settings, large, [(HEADER_DECIDED, renamed)])
    copied = msgspec.json.decode(_decision_in(carried))
    decided = _decided(settings, starts[DECISIONS.name], set(sent))
    taken = [one for one in decided.values() if one["decided_at"] == copied["decided_at"]]
    held = len(decided) == 5 and not taken
    return Finding(held, f"{len(decided)} of 5 decided, {len(taken)} of them as the header says")


@attack("headers that stretch and hide")
def other_headers(settings: Settings) -> Finding:
    """Deadlines, append times and traces that nobody may set: their payments are decided, without years of latency."""
    start = ends_of(settings, DECISIONS.name, settings.partitions)
    headers: list[list[tuple[str, bytes]]] = [
        [(HEADER_DEADLINE_MS, b"9" * 18)], [(HEADER_DEADLINE_MS, b"x")], [(HEADER_APPENDED_MS, b"0")],
        [("traceparent", b"\xff" * 200)], [("tollgate-forwarded-from", b"0:0")], [(HEADER_DECIDED, b"")],
    ]  # fmt: skip
    sent = set()
    for some in headers:
        tx = payment(f"card-{uuid.uuid4().hex[:6]}x")
        sent.add(tx["transaction_id"])
        _produce(settings, tx, some)
    decided = _decided(settings, start, sent)
    longest_ms = max((one["latency_ms"] for one in decided.values()), default=0.0)
    return Finding(
        len(decided) == len(sent) and longest_ms < 120_000,
        f"{len(decided)} of {len(sent)} decided, latency at most {longest_ms:.0f} ms",
    )


@attack("labels of others and of the future")
def labels_of_nothing(settings: Settings) -> Finding:
    """A label of 2099, one with another merchant and 50 of payments that never were: refused, or waiting without effect."""
    starts = {
        topic.name: ends_of(settings, topic.name, topic.partitions or settings.partitions)
        for topic in (DECISIONS, DEAD_LETTERS, topics.OUTCOMES)
    }
    tx = payment(f"card-{uuid.uuid4().hex[:6]}x")
    _score(settings, tx)
    _decided(settings, starts[DECISIONS.name], {tx["transaction_id"]})
    label = {
        "transaction_id": tx["transaction_id"], "label": "legit", "label_time": "2099-01-01T00:00:00Z", "source": "customer",
        "card_id": tx["card_id"], "merchant_id": tx["merchant_id"], "event_time": tx["event_time"],
    }  # fmt: skip
    with edge(settings) as client:
        ahead = client.post("/v1/labels", json=label).status_code
    now = {"label_time": datetime.now(UTC).isoformat()}
    producer = new_producer(writer(settings, LABELS.name), "attacker")
    others = [
        {**label, **now, "transaction_id": f"never-{uuid.uuid4().hex}x", "label": "fraud"} for _ in range(50)
    ]
    for one in (
        label,
        {**label, **now, "merchant_id": "m-victim"},
        *others,
        {**label, **now, "label": "fraud"},
    ):
        producer.produce(LABELS.name, key=one["card_id"], value=msgspec.json.encode(one))
    flush(producer, 30)
    until = time.monotonic() + WITHIN_S
    outcomes: list[Any] = []
    while not outcomes and time.monotonic() < until:
        records = read_topic(settings, topics.OUTCOMES.name, starts[topics.OUTCOMES.name])
        outcomes = [r for r in records if tx["card_id"].encode() in (r.value() or b"")]
        time.sleep(0.5)
    reasons = sorted(
        letter["reason"]
        for letter in (
            msgspec.json.decode(r.value())
            for r in read_topic(settings, DEAD_LETTERS.name, starts[DEAD_LETTERS.name])
        )
        if letter["source_topic"] == LABELS.name
    )
    words = [msgspec.json.decode(r.value())["label"] for r in outcomes]
    held = ahead == 422 and words == ["fraud"] and reasons == ["label_mismatch", "label_time_ahead"]
    return Finding(held, f"2099 over HTTP: {ahead}, outcomes {words}, refused {reasons}")


@attack("thousands of tenants")
def invented_tenants(settings: Settings) -> Finding:
    """Five requests with a thousand tenants each."""
    for _ in range(5):
        items = [payment(f"card-{n}x", tenant=f"t-{uuid.uuid4().hex[:8]}x") for n in range(1000)]
        with edge(settings) as client:
            client.post("/v1/score/batch", json={"transactions": items}).raise_for_status()
    until = time.monotonic() + 10
    series = 0
    while time.monotonic() < until:
        pages = list(_metrics(settings))
        series = max(
            sum(line.startswith("tollgate_transactions_total{") for line in page.splitlines())
            for page in pages
        )
        time.sleep(1)
    return Finding(series <= 101, f"{series} series of tollgate_transactions_total")


@attack("card numbers in every spelling")
def planted_card_numbers(settings: Settings) -> Finding:
    """Each spelling in an identifier, in a field of a wrong type and in an unknown field, over Kafka and HTTP; then all that was written is read."""
    start = {
        topic.name: ends_of(settings, topic.name, topic.partitions or settings.partitions)
        for topic in topics.ALL
    }
    planted, began_s = 0, time.time()
    producer = new_producer(writer(settings, TRANSACTIONS.name), "attacker")
    with edge(settings) as client:
        for spell in SPELLINGS.values():
            said = spell(NUMBER)
            for change in (
                {"card_id": said[:64]},
                {"channel": said},
                {"device_id": said[:64], "amount_minor": -1},
                {"memo": said, "currency": 7},
            ):
                body = msgspec.json.encode(payment() | change)
                producer.produce(TRANSACTIONS.name, value=body)
                client.post("/v1/score", content=body)
                planted += 1
            client.get(f"/v1/decisions/{NUMBER}")
    flush(producer, 30)
    until = time.monotonic() + WITHIN_S
    refused = start[DEAD_LETTERS.name]
    while len(read_topic(settings, DEAD_LETTERS.name, refused)) < planted // 2 and time.monotonic() < until:
        time.sleep(1)
    found = sorted({place for place, text in _written(settings, start, began_s) if spelled(NUMBER, text)})
    return Finding(not found, f"{planted} planted, readable in {found or 'nothing'}")


def _written(
    settings: Settings, start: dict[str, dict[int, int]], began_s: float
) -> Iterator[tuple[str, str]]:
    """Where, and what, of all that the stack wrote from these ends and this time on; not what producers write themselves."""
    # who may read every topic
    broker = acting_as(settings, BROKER)
    for topic in topics.ALL:
        if topic is TRANSACTIONS:
            continue
        for record in read_topic(broker, topic.name, start[topic.name]):
            text = (record.value() or b"").decode("utf-8", "replace")
            yield topic.name, text
            yield f"key on {topic.name}", (record.key() or b"").decode("utf-8", "replace")
            if topic is DEAD_LETTERS and (original := msgspec.json.decode(record.value()).get("original")):
                yield "original of a dead letter", base64.b64decode(original).decode("utf-8", "replace")
    for path in Path(settings.home).rglob("*"):
        inside = path.relative_to(settings.home).parts[0]
        if (
            path.is_file()
            and path.stat().st_mtime >= began_s
            and inside in ("logs", "archive", "mlflow", "feast", "drift", "trainer")
        ):
            yield str(path.relative_to(settings.home)), path.read_bytes().decode("utf-8", "replace")
    yield from (("metrics", page) for page in _metrics(settings))
    # which sees every key's name
    client = RespClient(acting_as(settings, REBUILD).redis_address)
    cursor = b"0"
    while True:
        cursor, keys = client.call([("SCAN", cursor, "COUNT", 1000)])[0]
        yield from (("a key in Redis", key.decode("utf-8", "replace")) for key in keys)
        if cursor == b"0":
            return


def _metrics(settings: Settings) -> Iterator[str]:
    for process in ("processor-0", "labels-0", "scoring-stream-0", "scoring-http-0"):
        yield httpx.get(f"http://127.0.0.1:{settings.metrics_port(process)}/metrics", timeout=STALL_S).text


def _score(settings: Settings, tx: dict[str, Any]) -> None:
    with edge(settings) as client:
        client.post("/v1/score", json=tx, headers={"X-Deadline-Ms": "10000"}).raise_for_status()


def _produce(settings: Settings, tx: dict[str, Any], headers: list[tuple[str, bytes]]) -> None:
    producer = new_producer(writer(settings, TRANSACTIONS.name), "attacker")
    producer.produce(TRANSACTIONS.name, key=tx["card_id"], value=msgspec.json.encode(tx), headers=headers)
    flush(producer, 30)


def _decision_in(header: bytes) -> bytes:
    begin = header.index(b'{"transaction_id"')
    return header[begin : header.index(b"]}", begin) + 2]


def _decided(settings: Settings, start: dict[int, int], wanted: set[str]) -> dict[str, Any]:
    """The decisions of transactions, as far as they come in time."""
    until = time.monotonic() + WITHIN_S
    found: dict[str, Any] = {}
    while len(found) < len(wanted) and time.monotonic() < until:
        for record in read_topic(settings, DECISIONS.name, start):
            decision = msgspec.json.decode(record.value())
            if decision["transaction_id"] in wanted:
                found.setdefault(decision["transaction_id"], decision)
        time.sleep(0.3)
    return found
