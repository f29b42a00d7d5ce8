"""A file through a broker: what is sent, what is counted, what was caught. A small decider stands for the stack."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.mock_cluster import MockCluster
from loadtest.traffic.replaying import replay
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.transaction_parsing import parse_transaction
from streams.log.topics import ALL, DEAD_LETTERS, DECISIONS, LABELS, TRANSACTIONS
from streams.mapping import ReplayFile, parse_mapping
from streams.runtime.kafka.clients import new_consumer, new_producer
from streams.runtime.settings import Settings
from tests.support.mapped_files import KEY, mapping_text, write_csv

MAPPING = mapping_text(
    'transaction_id = "id"\nevent_time = "at"\ncard_id = "card"\namount_minor = "amount"',
    tables='[label]\ncolumn = "bad"\nfraud = 1\ndelay_days = 1',
)
ROWS = [f"t{i},2025-01-{i + 1:02d}T00:00:00Z,c{i},{i}.00,{int(i % 4 == 0)}" for i in range(20)]


@pytest.fixture
def bootstrap() -> Iterator[str]:
    cluster = MockCluster({topic.name: 1 for topic in ALL})
    stop = threading.Event()
    thread = threading.Thread(target=decide, args=(cluster.bootstrap, stop))
    thread.start()
    try:
        yield cluster.bootstrap
    finally:
        stop.set()
        thread.join(10)
        cluster.close()


def decide(bootstrap: str, stop: threading.Event) -> None:
    """Declines cards c0 and c1, approves the rest, refuses what is no transaction."""
    consumer, producer = new_consumer(bootstrap, "decider"), new_producer(bootstrap, "decider")
    consumer.subscribe([TRANSACTIONS.name])
    while not stop.is_set():
        message = consumer.poll(0.1)
        if message is None or message.error() is not None:
            continue
        try:
            tx = parse_transaction(message.value())
        except InvalidEvent:
            place = {"source_partition": message.partition(), "source_offset": message.offset()}
            producer.produce(
                DEAD_LETTERS.name, value=json.dumps({"source_topic": TRANSACTIONS.name, **place}).encode()
            )
            continue
        decided = "decline" if tx.card_id in ("c0", "c1") else "approve"
        answer = {
            "transaction_id": tx.transaction_id,
            "tenant": tx.tenant,
            "decision": decided,
            "status": "scored",
        }
        producer.produce(DECISIONS.name, key=tx.card_id, value=json.dumps(answer).encode())
    producer.flush(10)
    consumer.close()


def sent_to(bootstrap: str, topic: str, count: int) -> list[Any]:
    consumer = new_consumer(bootstrap, "reader")
    consumer.subscribe([topic])
    found: list[Any] = []
    for _ in range(100):
        found += [m for m in consumer.consume(100, timeout=0.1) if m.error() is None]
        if len(found) >= count:
            break
    consumer.close()
    return found


def test_a_replay_says_what_was_decided_and_caught(
    bootstrap: str, kafka_redis: Settings, tmp_path: Path
) -> None:
    path = write_csv(
        tmp_path, "id,at,card,amount,bad", *ROWS, "t20,2025-01-21T00:00:00Z,4111111111111111,5,0"
    )
    file = ReplayFile(path, parse_mapping(MAPPING.encode(), "test"), KEY)
    # at a speed, and still without a deadline: the file is old
    report = replay(bootstrap, kafka_redis.redis_address, file, speed=1e8, all_labels=True)
    assert (report["produced"], report["dead_lettered"], report["missing"], report["duplicated"]) == (
        21,
        1,
        0,
        0,
    )
    assert report["decided"] == {"scored": 20, "degraded": 0, "not_scored": 0}
    assert report["decisions"] == {"approve": 18, "review": 0, "decline": 2} and report["labels_sent"] == 20
    caught = report["caught"]
    assert (caught["frauds"], caught["frauds_caught"], caught["honest"], caught["false_alarms"]) == (
        5,
        1,
        15,
        1,
    )
    assert caught["fraud_minor"] == {"EUR": 100 * (0 + 4 + 8 + 12 + 16)}
    assert (report["file"]["rows"], report["file"]["fit"]) == (21, 20)

    assert len(sent_to(bootstrap, LABELS.name, 20)) == 20
    for message in sent_to(bootstrap, TRANSACTIONS.name, 21):
        assert ("tollgate-deadline-ms", b"0") in message.headers()
        assert b"4111111111111111" not in message.value() and message.key() != b"4111111111111111"
