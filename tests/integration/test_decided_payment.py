"""One decision whole, on a real broker and store: from the index, from the newest decisions, and from the archive alone."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from features.attributes import Attribute, Attributes
from features.catalogue import NAMES, WIDTH
from features.feast_repo.archived import schema_with
from features.identity import identity_of
from features.store.redis_client import RespClient
from models.decision import Decision
from services.cli.main import run
from streams.archive.tables import DECISION_SCHEMA
from streams.archive.writer import write_parquet
from streams.audit.decided_payment import find_decision
from streams.contracts.text.json_encoding import encode
from streams.log.decision_index import IndexedDecision, IndexWriter, Row
from streams.log.topics import DECISIONS, FEATURES
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.support.archive_samples import decision, features
from tests.support.feature_batches import decode_features, encode_features

TENANT = "shop-whole"
DECLARED = {"tier": Attribute("text"), "items": Attribute("number"), "unsent": Attribute("number")}


def decided(number: int) -> Decision:
    """A decision of now, whose features are on the log since a moment ago."""
    now = datetime.now(UTC)
    made = decision(number)
    return msgspec.structs.replace(
        made, tenant=TENANT, received_at=now, decided_at=now + timedelta(milliseconds=5)
    )


def put_features(settings: Settings, number: int) -> None:
    found = decode_features(features(number).value or b"")
    transaction = msgspec.structs.replace(
        found.transaction, tenant=TENANT, attributes={"tier": "gold", "items": 7}
    )
    producer = new_producer(settings.kafka, "decided-payment")
    producer.produce(
        FEATURES.name, encode_features(msgspec.structs.replace(found, transaction=transaction)), partition=0
    )
    flush(producer, 20)


def put_decision(settings: Settings, made: Decision) -> None:
    producer = new_producer(settings.kafka, "decided-payment")
    producer.produce(DECISIONS.name, b"not a decision of " + made.transaction_id.encode(), partition=0)
    producer.produce(DECISIONS.name, encode(made), b"card-1", partition=0)
    flush(producer, 20)


def test_a_decision_that_is_not_indexed_yet_is_found_with_its_features(own_kafka_redis: Settings) -> None:
    put_features(own_kafka_redis, 71)
    made = decided(71)
    put_decision(own_kafka_redis, made)
    found = find_decision(own_kafka_redis, TENANT, "tx-71", time.time())
    assert found is not None and found.source == "log"
    assert msgspec.convert(found.decision, Decision) == made
    assert found.served is not None and found.served.source == "log"
    assert found.served.transaction["attributes"] == {"tier": "gold", "items": 7}
    assert found.served.transaction["amount_minor"] == 171 and "latitude" not in found.served.transaction
    values = found.served.features
    assert (
        len(values) == WIDTH
        and values[NAMES[0]] == 71
        and values[NAMES[3]] is None
        and values[NAMES[-1]] == 70 + WIDTH
    )
    # another tenant's payment of the same id is another payment
    assert find_decision(own_kafka_redis, "default", "tx-71", time.time()) is None


def test_the_index_has_the_first_word(own_kafka_redis: Settings) -> None:
    put_features(own_kafka_redis, 72)
    made = decided(72)
    row = Row(5, identity_of(TENANT, "tx-72"), IndexedDecision(encode(made), None))
    client = RespClient(own_kafka_redis.redis_address, 5.0)
    client.call(IndexWriter().writes(0, [row], time.time()))
    client.close()
    found = find_decision(own_kafka_redis, TENANT, "tx-72", time.time())
    assert found is not None and found.source == "index" and found.decision["transaction_id"] == "tx-72"
    assert found.served is not None and found.served.features[NAMES[1]] == 73


def archive(settings: Settings, number: int, at: datetime) -> None:
    place = Path(settings.archive_dir)
    rows: list[tuple[str, pa.Schema, dict[str, Any]]] = [
        ("decisions", DECISION_SCHEMA, {"decision": "review", "status": "scored", "score": 0.5, "model_version": "1.0.0",
                                        "policy_version": "1", "decided_at": at, "reasons": '[{"code": "RULE_X", "text": "rule x"}]'}),
        ("features", schema_with(Attributes(DECLARED)), {"text_tier": "gold", "number_items": 7.0, "merchant_id": "m-1", "amount_minor": 7, "currency": "EUR", "channel_name": "pos", NAMES[0]: 7.0}),
    ]  # fmt: skip
    for topic, schema, values in rows:
        common = {
            "transaction_id": f"tx-{number}",
            "tenant": TENANT,
            "card_id": "card-1",
            "event_timestamp": at,
        }
        row = dict.fromkeys(schema.names) | common | values
        path = place / topic / f"date={at.date()}" / f"{topic}-0-{number}-{number}-1.parquet"
        write_parquet(path, pa.Table.from_pylist([row], schema))


def test_an_old_decision_is_found_in_the_archive(
    own_kafka_redis: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = msgspec.structs.replace(own_kafka_redis, attributes=DECLARED)
    settings.save()
    archive(own_kafka_redis, 73, datetime(2026, 3, 1, 12, tzinfo=UTC))
    arguments = ["decisions", "show", "tx-73", "--home", own_kafka_redis.home]
    assert run([*arguments, "--tenant", TENANT, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["found_in"] == {"decision": "archive", "features": "archive"}
    assert found["decision"]["reasons"] == [{"code": "RULE_X", "text": "rule x"}]
    assert (found["transaction"]["channel"], found["features"][NAMES[0]], found["features"][NAMES[1]]) == (
        "pos",
        7.0,
        None,
    )
    assert found["transaction"]["attributes"] == {"tier": "gold", "items": 7}
    assert run([*arguments, "--tenant", TENANT]) == 0
    shown = capsys.readouterr().out
    assert "tx-73: review, scored, score 0.5000" in shown
    assert "attributes.tier: gold" in shown and "attributes.items: 7" in shown
    # without the tenant, nothing is known of it
    assert run(arguments) == 1
    assert "no decision of tx-73 (tenant default)" in capsys.readouterr().err


def test_the_way_of_a_transaction_is_read_from_the_log(
    own_kafka_redis: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that came over Kafka with a traceparent of its sender, and one that the HTTP edge decided."""
    caller = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    for number, of_row in ((81, {"trace": caller}), (82, {"decided": b"sealed"})):
        now = datetime.now(UTC)
        sample = decode_features(features(number).value or b"")
        transaction = msgspec.structs.replace(sample.transaction, tenant=TENANT)
        row = msgspec.structs.replace(
            sample, transaction=transaction, appended_ms=int(now.timestamp() * 1000) - 30, **of_row
        )
        producer = new_producer(own_kafka_redis.kafka, "decided-payment")
        producer.produce(FEATURES.name, encode_features(row), partition=0)
        flush(producer, 20)
        made = msgspec.structs.replace(decided(number), received_at=now - timedelta(milliseconds=30), decided_at=datetime.now(UTC))  # fmt: skip
        put_decision(own_kafka_redis, made)
    arguments = ["trace", "--home", own_kafka_redis.home, "--tenant", TENANT]
    assert run([*arguments, "tx-81", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["edge"], found["trace_id"]) == ("kafka", "ab" * 16)
    assert [span["process"] for span in found["spans"]] == ["processor", "scoring-stream", "kafka"]
    # each begins where the one before ended
    assert [span["start"] for span in found["spans"]][1:] == [span["end"] for span in found["spans"]][:-1]
    assert (
        found["total_ms"] == pytest.approx(sum(span["ms"] for span in found["spans"]), abs=0.01)
        and found["total_ms"] >= 30
    )
    assert run([*arguments, "tx-82", "--json"]) == 0
    over_http = json.loads(capsys.readouterr().out)
    assert over_http["edge"] == "http"
    assert [span["process"] for span in over_http["spans"] if span["waited_for"]] == ["scoring-http", "kafka"]
    assert run([*arguments, "tx-81", "--otlp"]) == 0
    spans = [
        s
        for r in json.loads(capsys.readouterr().out)["resourceSpans"]
        for scope in r["scopeSpans"]
        for s in scope["spans"]
    ]
    assert {span["traceId"] for span in spans} == {"ab" * 16} and len({span["spanId"] for span in spans}) == 4
    (root,) = [span for span in spans if span["name"] == "transaction"]
    assert root["parentSpanId"] == "cd" * 8
    assert {span.get("parentSpanId") for span in spans if span is not root} == {root["spanId"]}
    assert run([*arguments, "tx-81"]) == 0 and "█" in capsys.readouterr().out
    assert run([*arguments, "tx-nobody"]) == 1


def test_what_only_the_archive_holds_has_no_trace(
    own_kafka_redis: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    archive(own_kafka_redis, 83, datetime(2026, 3, 2, 12, tzinfo=UTC))
    assert run(["trace", "tx-83", "--home", own_kafka_redis.home, "--tenant", TENANT]) == 1
    assert "the log does not hold tx-83" in capsys.readouterr().err
