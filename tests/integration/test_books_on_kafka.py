"""The books on a broker: sampled without being asked, repeats of earlier runs, and books that a person brings back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from features.store.redis_client import RespClient
from infra.embedded.mock_cluster import MockCluster
from loadtest.traffic.measuring_client import Measurement
from services.cli.main import cli
from streams.audit.reconciler import Reconciler
from streams.log.books import parse_entry
from streams.log.decision_index import IndexedDecision, IndexWriter, Row
from streams.log.records import HEADER_SOURCE_OFFSET
from streams.log.topics import ALL, BOOKS
from streams.runtime.edge_keys import ensure_keys
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.kafka.log_reader import end_of, read_span
from streams.runtime.metrics import RECONCILED, RECONCILIATION_FAULTS, RECONCILIATION_OPEN
from streams.runtime.settings import Settings
from tests.support.metric_values import counted
from tests.support.waiting import STALL_S

OLD_MS = int(time.time() * 1000) - 3_600_000


@pytest.fixture
def stack(kafka_redis: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A broker of the test's own, with the session's Redis."""
    cluster = MockCluster({topic.name: topic.partitions or 1 for topic in ALL})
    try:
        settings = Settings(
            home=str(tmp_path), kafka=cluster.bootstrap, partitions=1, embedded=True, redis=kafka_redis.redis,
            redis_socket=kafka_redis.redis_socket,
        )  # fmt: skip
        settings.save()
        ensure_keys(settings.edge_keys_path)
        yield settings
    finally:
        cluster.close()


def send(settings: Settings, *names: str, headers: list[tuple[str, bytes]] | None = None) -> None:
    producer = new_producer(settings.kafka, "books-test")
    for name in names:
        value = {
            "transaction_id": name, "event_time": "2026-01-01T00:00:00Z", "card_id": "c", "merchant_id": "m", "amount_minor": 1,
            "currency": "EUR",
        }  # fmt: skip
        producer.produce("transactions", json.dumps(value), "c", timestamp=OLD_MS, headers=headers or [])
    flush(producer, STALL_S)
    producer.close()


def decide(settings: Settings, *names: str, source: int = 0) -> None:
    producer = new_producer(settings.kafka, "books-test")
    for name in names:
        value = json.dumps({"transaction_id": name, "status": "scored", "tenant": "default"})
        producer.produce("decisions", value, "c", headers=[(HEADER_SOURCE_OFFSET, b"%d" % source)])
    flush(producer, STALL_S)
    producer.close()


def index(settings: Settings, *names: str) -> None:
    rows = [Row(place, name, IndexedDecision(b"{}", None)) for place, name in enumerate(names)]
    RespClient(settings.redis_address).with_retry(IndexWriter().writes(0, rows, time.time()))


def reconcile(settings: Settings, *more: str) -> tuple[int, dict[str, int]]:
    done = CliRunner().invoke(
        cli,
        ["reconcile", "--home", settings.home, "--json", *more],
        standalone_mode=False,
        catch_exceptions=False,
    )
    return done.return_value, json.loads(done.stdout)


def test_what_a_run_sends_again_is_told_as_repeats_and_not_waited_for(stack: Settings) -> None:
    """Half of a run was decided before it, and one transaction is in it twice."""
    index(stack, "again-1", "again-2")
    with Measurement(stack.kafka, stack.redis_address, run="again") as measurement:
        marked = [("tollgate-run", b"again")]
        send(stack, "again-1", "again-2", "new-1", "new-2", "new-2", headers=marked)
        decide(stack, "new-1", "new-2")
        began = time.monotonic()
        result = measurement.finish(5, wait_s=STALL_S)
    assert (result.scored, result.repeats, result.missing, result.duplicated) == (2, 3, 0, 0)
    # it ended because all was accounted for, not because nothing came any more
    assert time.monotonic() - began < STALL_S


def test_what_is_in_no_index_is_missing(stack: Settings) -> None:
    with Measurement(stack.kafka, stack.redis_address, run="lost") as measurement:
        send(stack, "lost-1", "lost-2", headers=[("tollgate-run", b"lost")])
        decide(stack, "lost-1")
        result = measurement.finish(2, wait_s=2.0)
    assert (result.scored, result.repeats, result.missing) == (1, 0, 1)


def test_the_sampled_books_say_what_has_no_outcome_until_it_has_one(stack: Settings) -> None:
    books = Reconciler(stack.kafka, stack.redis_address)
    found, faults = (
        counted(RECONCILED),
        {k: counted(RECONCILIATION_FAULTS.labels(k)) for k in ("unknown", "duplicated")},
    )
    books.look()
    send(stack, "s-1", "s-2", "s-3", "s-4")
    decide(stack, "s-1", "s-2", "s-2")
    index(stack, "s-4")
    books.look()
    assert counted(RECONCILIATION_OPEN) == 0
    books.look()
    # s-4 was decided before; s-3 never
    assert (counted(RECONCILIATION_OPEN), counted(RECONCILED) - found) == (1, 3)
    assert counted(RECONCILIATION_FAULTS.labels("duplicated")) - faults["duplicated"] == 1
    decide(stack, "nobody", source=2**62)
    index(stack, "s-3")
    books.look()
    assert counted(RECONCILIATION_OPEN) == 0
    assert counted(RECONCILIATION_FAULTS.labels("unknown")) - faults["unknown"] == 1
    assert counted(RECONCILIATION_FAULTS.labels("duplicated")) - faults["duplicated"] == 1


def test_unbalanced_books_are_brought_back_with_an_entry_that_says_why(stack: Settings) -> None:
    send(stack, "r-1", "r-2", "r-3", "r-4")
    decide(stack, "r-1", "r-1", "r-2", "ghost")
    # decided, and its decision is gone from the log
    index(stack, "r-4")
    code, sums = reconcile(stack)
    assert (code, sums["in_flight"], sums["duplicated"], sums["unknown"], sums["balanced"]) == (
        1,
        2,
        1,
        1,
        False,
    )
    usage = CliRunner().invoke(cli, ["reconcile", "--home", stack.home, "--repair"])
    assert usage.exit_code == 2 and "--why" in usage.output
    code, sums = reconcile(stack, "--repair", "--why", "a test", "--by", "ann")
    assert (code, sums["in_flight"], sums["duplicated"], sums["unknown"], sums["struck"]) == (0, 0, 0, 0, 2)
    assert (sums["scored"], sums["dead_lettered"], sums["ingested"], sums["balanced"]) == (2, 1, 3, True)
    records: list = []
    read_span(stack.kafka, {BOOKS.name: {0: 0}}, end_of(stack.kafka, [BOOKS.name]), records.extend)
    (entry,) = [parse_entry(record.value()) for record in records]
    assert entry is not None
    assert (entry.by, entry.why, entry.struck, entry.closed, entry.settled) == (
        "ann",
        "a test",
        [(0, 1), (0, 3)],
        [(0, 2)],
        [(0, 3)],
    )
    # it stays so, and a second repair finds nothing to do
    assert reconcile(stack, "--repair", "--why", "again")[0] == 0
    assert end_of(stack.kafka, [BOOKS.name]) == {BOOKS.name: {0: 1}}
    letters = CliRunner().invoke(
        cli, ["dead-letters", "list", "--home", stack.home, "--json"], standalone_mode=False
    )
    (letter,) = json.loads(letters.stdout)
    assert letter["reason"] == "unaccounted" and "closed by ann: a test" in letter["text"]


def test_what_is_young_is_left_alone(stack: Settings) -> None:
    producer = new_producer(stack.kafka, "books-test")
    producer.produce("transactions", b'{"transaction_id": "young"}', "c")
    flush(producer, STALL_S)
    producer.close()
    code, sums = reconcile(stack, "--repair", "--why", "too soon")
    assert (code, sums["in_flight"], sums["dead_lettered"]) == (1, 1, 0)
