"""The HTTP edge and the processor on a broker and a Redis: one decision carried through, and parity from the log alone."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from confluent_kafka import TopicPartition

from features.store.redis_client import RespClient
from features.vector_layouts import OWN
from services.cli.main import run
from services.scoring.http.app import build_app
from services.scoring.http.wiring import Parts
from streams.log.feature_batch import FeatureRecord
from streams.log.other_catalogues import layout_key, stored_in
from streams.log.topics import FEATURES, TRANSACTIONS
from streams.runtime.kafka.clients import flush, new_consumer, new_producer
from streams.runtime.settings import Settings
from tests.support.feature_batches import rows_in

WITHIN_S = 60.0


@pytest.fixture(scope="module")
def processor(kafka_redis: Settings) -> Iterator[Settings]:
    """A stack of Kafka, Redis and one processor."""
    command = [
        sys.executable,
        "-m",
        "streams.processor.main",
        "--home",
        kafka_redis.home,
        "--name",
        "processor-0",
    ]
    kafka_redis.log_dir.mkdir(parents=True, exist_ok=True)
    with (kafka_redis.log_dir / "edge-test-processor.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield kafka_redis
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def transaction(prefix: str, number: int) -> dict[str, Any]:
    return {
        "transaction_id": f"{prefix}t{number}t",
        "event_time": f"2026-11-21T10:{number // 60:02d}:{number % 60:02d}Z",
        "card_id": f"{prefix}card{number % 5}c",
        "merchant_id": f"{prefix}m{number % 3}m",
        "amount_minor": 100 + number,
        "currency": "EUR",
        "device_id": f"{prefix}d{number % 4}d",
        "country": "FR",
    }


def served(settings: Settings, prefix: str, wanted: int) -> dict[str, FeatureRecord]:
    """Features of this test's transactions, by id, once there are ``wanted``."""
    consumer = new_consumer(settings.kafka, f"test-{uuid.uuid4()}")
    consumer.assign([TopicPartition(FEATURES.name, p, 0) for p in range(settings.partitions)])
    found: dict[str, FeatureRecord] = {}
    deadline = time.monotonic() + WITHIN_S
    try:
        while len(found) < wanted and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            for record in rows_in([message.value()]):
                if record.transaction.transaction_id.startswith(prefix):
                    found.setdefault(record.transaction.transaction_id, record)
        return found
    finally:
        consumer.close()


async def score_over_http(settings: Settings, bodies: list[dict[str, Any]]) -> list[bytes]:
    """Decisions of the edge without a model, one request each, all at once."""
    parts = Parts(settings, "edge-test", threading.Event())
    edge = await parts.open()
    try:
        transport = httpx.ASGITransport(build_app(edge))
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            headers = {"X-Deadline-Ms": "10000"}
            answers = await asyncio.gather(
                *(client.post("/v1/score", json=body, headers=headers) for body in bodies)
            )
            assert [answer.status_code for answer in answers] == [200] * len(bodies)
            again = await client.post("/v1/score", json=bodies[0], headers=headers)
            assert again.content == answers[0].content
            other = await client.post("/v1/score", json=bodies[0] | {"amount_minor": 1}, headers=headers)
            assert other.status_code == 409
            return [answer.content for answer in answers]
    finally:
        await parts.close()


def test_decisions_travel_and_parity_holds(processor: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = f"p{uuid.uuid4().hex[:6]}x"
    producer = new_producer(processor.kafka, "edge-test-producer")
    for number in range(60):
        body = transaction(prefix, number)
        producer.produce(TRANSACTIONS.name, key=body["card_id"], value=json.dumps(body).encode())
    flush(producer, 30)
    assert len(served(processor, prefix, 60)) == 60
    # who makes vectors has put their layout on record first: the processor, and the edge for itself
    redis = RespClient(processor.redis_address)
    on_record = stored_in(redis)
    assert on_record(OWN.catalogue) == OWN
    redis.call([("DEL", layout_key(OWN.catalogue))])
    bodies = [transaction(prefix, number) for number in range(100, 140)]
    answers = asyncio.run(score_over_http(processor, bodies))
    assert on_record(OWN.catalogue) == OWN
    records = served(processor, prefix, 100)
    assert len(records) == 100
    for body, answer in zip(bodies, answers, strict=True):
        assert records[body["transaction_id"]].decided == answer
    assert all(records[body["transaction_id"]].as_of[0] >= 0 for body in bodies)
    capsys.readouterr()
    assert run(["parity", "--home", processor.home, "--sample", "5000", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["compared"] >= 100
    assert (summary["unexplained"], summary["identical"]) == (0, summary["compared"])
    card = bodies[0]["card_id"]
    assert run(["features", "show", "card", card, "--home", processor.home, "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)
    assert profile["windows"]["24h"]["count"] == 20
    assert run(["features", "show", "merchant", bodies[0]["merchant_id"], "--home", processor.home]) == 0
    assert "merchant_count_30d" in capsys.readouterr().out
