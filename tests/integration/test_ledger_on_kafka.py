"""simulate, replay, reconcile, decisions and dead-letters through a broker, against the smallest thing that decides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from infra.embedded.mock_cluster import MockCluster
from services.cli.main import cli, run
from streams.audit import LedgerUnreachable, end_of, read_span
from streams.audit.dead_letter_replay import ReplayRefused
from streams.contracts.invalid_event import InvalidEvent
from streams.log.topics import ALL
from streams.runtime.dead_letters import Consumed, dead_letter, send_dead_letter
from streams.runtime.edge_keys import ensure_keys
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings, load_settings
from tests.support.fake_decider import FakeDecider

ROWS = 40
FORGED = b'{"transaction_id":"forged-1","event_time":"2026-01-01T00:00:00Z","card_id":"c","merchant_id":"m","amount_minor":1,"currency":"EUR"}'
MAPPING = """
[fields]
transaction_id = { column = "id", template = "ledgerfile-{}" }
event_time = "at"
card_id = { column = "pan", tokenise = true }
merchant_id = { constant = "m" }
amount_minor = { column = "amount", exponent = 2 }
currency = { constant = "EUR" }
[label]
column = "bad"
delay_days = 1
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of this module's own: sums over whole topics must hold nobody else's records."""
    folder = tmp_path_factory.mktemp("ledger")
    cluster = MockCluster({topic.name: topic.partitions or 3 for topic in ALL})
    try:
        settings = Settings(home=str(folder), kafka=cluster.bootstrap, partitions=3, embedded=True)
        settings.save()
        ensure_keys(settings.edge_keys_path)
        yield str(folder)
    finally:
        cluster.close()


def kafka(home: str) -> str:
    return load_settings(home).kafka


def call(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args), standalone_mode=False, catch_exceptions=False)


def code(result: Result) -> int:
    return result.return_value if isinstance(result.return_value, int) else result.exit_code


def simulate(home: str, *more: str) -> Result:
    return call(
        "simulate",
        "--home",
        home,
        "--rate",
        "400",
        "--seconds",
        "1",
        "--cards",
        "50",
        "--wait",
        "2",
        "--json",
        *more,
    )


def test_1_every_decision_is_seen(home: str) -> None:
    with FakeDecider(kafka(home)):
        result = simulate(home)
    report = json.loads(result.stdout)
    assert code(result) == 0
    assert set(report) == {
        "produced", "decided", "dead_lettered", "missing", "duplicated", "repeats", "latency_ms", "cpu_us_per_transaction",
    }  # fmt: skip
    assert report["produced"] == 400 and report["decided"] == {"scored": 400, "degraded": 0, "not_scored": 0}
    assert (report["missing"], report["duplicated"], report["dead_lettered"]) == (0, 0, 0)
    assert (
        0
        <= report["latency_ms"]["p50"]
        <= report["latency_ms"]["p99"]
        <= report["latency_ms"]["max"]
        < 20_000
    )


def test_2_scaled_runs_send_the_labels_that_become_due(home: str) -> None:
    before = sum(end_of(kafka(home), ["labels"])["labels"].values())
    with FakeDecider(kafka(home)):
        result = simulate(home, "--scale", "864000")
    assert code(result) == 0
    assert sum(end_of(kafka(home), ["labels"])["labels"].values()) > before
    balanced = call("reconcile", "--home", home, "--json")
    sums = json.loads(balanced.stdout)
    assert code(balanced) == 0 and sums["balanced"] is True
    assert sums["ingested"] == sums["scored"] == 800


def test_3_a_file_its_refused_rows_and_their_mending(home: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    rows = [f"{i},2026-01-{1 + i % 28:02d}T10:00:00Z,4111 1111 1111 1111,{i}.50,{i % 2}" for i in range(ROWS)]
    rows[3] = rows[3].replace("2026-01-04", "2026-02-31")
    path = tmp_path / "f.csv"
    path.write_text("\n".join(["id,at,pan,amount,bad", *rows]))
    with FakeDecider(kafka(home)):
        result = call(
            "replay",
            str(path),
            "--mapping",
            str(tmp_path / "m.toml"),
            "--home",
            home,
            "--wait",
            "3",
            "--json",
        )
        report = json.loads(result.stdout)
        assert code(result) == 0
        assert (report["produced"], report["decided"]["scored"], report["dead_lettered"]) == (
            ROWS,
            ROWS - 1,
            1,
        )
        letters = json.loads(call("dead-letters", "list", "--home", home, "--json").stdout)
        assert [(letter["reason"], letter["field"]) for letter in letters] == [("field", "event_time")]
        name = letters[0]["id"]
        still_bad = run(["dead-letters", "replay", "--home", home, "--id", name])
        assert still_bad == 2
        mended = call(
            "dead-letters", "replay", "--home", home, "--id", name, "--set", "event_time=2026-02-28T10:00:00Z"
        )
        assert code(mended) == 0
        sums = json.loads(call("reconcile", "--home", home, "--wait", "10", "--json").stdout)
    assert sums["balanced"] and sums["dead_lettered"] == 1
    assert json.loads(call("dead-letters", "list", "--home", home, "--json").stdout) == []
    every = json.loads(call("dead-letters", "list", "--all", "--home", home, "--json").stdout)
    assert [letter["id"] for letter in every] == [name] and every[0]["replayed_at"]
    assert run(["dead-letters", "replay", "--home", home, "--id", name]) == 2


def test_4_tail_shows_the_newest_decisions(home: str) -> None:
    shown = call("decisions", "tail", "-n", "5", "--home", home, "--json").stdout.splitlines()
    assert len(shown) == 5
    assert all(json.loads(line)["status"] == "scored" for line in shown)


@pytest.mark.parametrize(("copies", "missing", "duplicated"), [(0, 1, 0), (2, 0, 1)])
def test_5_a_lost_or_doubled_decision_is_told(home: str, copies: int, missing: int, duplicated: int) -> None:
    prefix = "lost" if copies == 0 else "doubled"
    odd = {f"{prefix}bb-17": copies}
    with FakeDecider(kafka(home), lambda name: odd.get(name, 1)):
        result = simulate(home, "--id-prefix", prefix)
    report = json.loads(result.stdout)
    assert code(result) == 1
    assert (report["missing"], report["duplicated"]) == (missing, duplicated)
    assert report["decided"]["scored"] == 400 - missing
    balanced = call("reconcile", "--home", home, "--json")
    assert code(balanced) == 1 and json.loads(balanced.stdout)["balanced"] is False


def test_6_other_traffic_is_not_taken_for_ours(home: str) -> None:
    producer = new_producer(kafka(home), "other")
    with FakeDecider(kafka(home)):
        for i in range(50):
            value = {
                "transaction_id": f"other-{i}", "event_time": "2026-01-01T00:00:00Z", "card_id": "c",
                "merchant_id": "m", "amount_minor": 1, "currency": "EUR",
            }  # fmt: skip
            producer.produce("transactions", json.dumps(value), "c")
        result = simulate(home)
        flush(producer, 10)
        producer.close()
    assert code(result) == 0 and json.loads(result.stdout)["decided"]["scored"] == 400


def test_a_letter_that_nobody_refused_is_not_sent_with_the_stacks_seal(home: str) -> None:
    producer = new_producer(kafka(home), "forger")
    place = max(end_of(kafka(home), ["transactions"])["transactions"].items(), key=lambda at: at[1])
    source = Consumed("transactions", place[0], place[1] - 1, FORGED)
    send_dead_letter(producer, dead_letter(source, InvalidEvent("field", "mcc", "a lie"), 0))
    flush(producer, 10)
    name = f"transactions/{source.partition}/{source.offset}"
    replay = ("dead-letters", "replay", "--home", home, "--id", name)
    with pytest.raises(ReplayRefused, match="--unproven"):
        call(*replay)
    before = end_of(kafka(home), ["transactions"])
    assert code(call(*replay, "--unproven")) == 0
    sent: list[Any] = []
    read_span(kafka(home), before, end_of(kafka(home), ["transactions"]), sent.extend)
    assert [record.value() for record in sent] == [FORGED]
    assert [name for name, _ in sent[0].headers()] == ["tollgate-replayed-from"]
    producer.close()


def test_bad_usage_and_absent_parts_have_their_exit_codes(tmp_path: Path) -> None:
    assert run(["simulate", "--home", str(tmp_path / "none")]) == 3
    Settings(home=str(tmp_path), kafka="127.0.0.1:9").save()
    with pytest.raises(LedgerUnreachable):
        end_of("127.0.0.1:9", ["transactions"], timeout_s=0.5)
    for bad in (["--drift", "weather@3"], ["--scale", "fast"], ["--id-prefix", "41"], ["--rate", "-1"]):
        assert run(["simulate", "--home", str(tmp_path), *bad]) == 2
    (tmp_path / "f.csv").write_text("a,b\n1,2\n")
    assert run(["replay", str(tmp_path / "f.csv"), "--mapping", "handbook", "--home", str(tmp_path)]) == 2
    assert run(["replay", str(tmp_path / "f.csv"), "--mapping", "none", "--home", str(tmp_path)]) == 2
    assert (
        run(
            [
                "replay",
                str(tmp_path / "f.csv"),
                "--mapping",
                "handbook",
                "--speed",
                "-3",
                "--home",
                str(tmp_path),
            ]
        )
        == 2
    )
