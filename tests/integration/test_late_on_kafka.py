"""``tollgate features late --json`` over a log of which the beginning is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import streams.audit.lateness_log
from features.catalogue import NAMES
from features.store.partitions import partitions_of
from infra.embedded.mock_cluster import MockCluster
from services.cli.main import cli
from streams.log.feature_batch import FeatureRecord
from streams.log.topics import ALL, FEATURES, TRANSACTIONS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.support.feature_batches import encode_features
from tests.support.late_payments import CountsPayments, served
from tests.support.parity_world import PARTITIONS

ELSEWHERE = next(
    card
    for card in (f"card-{n}" for n in range(2, 99))
    if partitions_of([card, "card-1"], PARTITIONS).tolist() in ([0, 1], [1, 0])
)


class Scores(CountsPayments):
    """Declines the third payment within an hour; has a version, as what is live has."""

    version = "1.0.0"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A broker with nothing on it; no Redis is asked, since all records are of this catalogue."""
    cluster = MockCluster({topic.name: topic.partitions or 3 for topic in ALL})
    monkeypatch.setattr(streams.audit.lateness_log, "live_scorer", lambda _: Scores())
    try:
        made = Settings(home=str(tmp_path), kafka=cluster.bootstrap, partitions=3, embedded=True)
        made.save()
        yield made
    finally:
        cluster.close()


def late(settings: Settings, records: Sequence[FeatureRecord]) -> dict[str, Any]:
    """What the command says of these records, of which each came twice."""
    producer = new_producer(settings.kafka, "late")
    # a batch that claims an offset beyond the end of its source is not believed
    for partition in {record.partition for record in records}:
        for _ in range(1 + max(record.offset for record in records if record.partition == partition)):
            producer.produce(TRANSACTIONS.name, b"", partition=partition)
    for record in (*records, *records):
        producer.produce(FEATURES.name, encode_features(record), partition=record.partition)
    producer.produce(FEATURES.name, b"poison", partition=0)
    flush(producer, 30)
    done = CliRunner().invoke(
        cli, ["features", "late", "--json", "--home", settings.home], standalone_mode=False
    )
    assert done.exit_code == 0, done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_in_order_nothing_changes_though_history_is_cut(settings: Settings) -> None:
    found = late(settings, served([0, 1, 2, 3, 400, 405])[3:])
    assert {name: found[name] for name in ("transactions", "late", "decisions_compared", "decisions_changed")} == {
        "transactions": 3, "late": 0, "decisions_compared": 0, "decisions_changed": 0,
    }  # fmt: skip
    assert (found["model_version"], found["records_left_out"]) == (None, 0)


def test_disorder_changes_what_it_changes_and_nothing_else(settings: Settings) -> None:
    # the first of what is left was declined for payments that are gone; that of minute 605 would have been the second within the
    # hour, and that of minute 620 the third
    records = [*served([0, 1, 2, 3, 600, 620, 605])[3:], *served([0, 1, 2, 3, 400, 405], ELSEWHERE)[3:]]
    found = late(settings, records)
    assert (found["transactions"], found["late"], found["decisions_compared"]) == (7, 1, 4)
    assert (found["decisions_changed"], found["late_by_s"]["max"]) == (1, 900.0)
    # that of minute 620 alone did not know of the one of 605
    assert found["features_changed"] == 1
    assert (found["model_version"], found["records_left_out"]) == ("1.0.0", 0)
    entries = set(found["entries_recomputed"])
    assert "card_count_1h" in entries and entries < set(NAMES)
    assert not entries & {"card_frauds_30d", "card_declined_1h", "customer_count_1h", "amount"}
    assert {name for name in NAMES if name.startswith("card_")} - entries == {
        "card_frauds_30d",
        "card_declined_1h",
    }


def test_a_cut_is_told_in_the_json(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.audit.lateness_log, "MAX_RECORDS", 2)
    found = late(settings, served([600, 620, 605, 606]))
    assert (found["decisions_compared"], found["records_at_most"], found["records_left_out"]) == (2, 2, 2)
    # without the late ones among them there is no disorder
    assert (found["features_changed"], found["decisions_changed"]) == (0, 0)
