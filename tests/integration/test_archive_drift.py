"""The archive and the drift process on a broker: killed, restarted, and every row there once; drift becomes a request."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.dataset as ds
import pytest
from confluent_kafka import TopicPartition

from features.catalogue import CATALOGUE_HASH, INDEX, NAMES, WIDTH
from features.vector_layouts import OWN
from infra import stack
from models.bundle.manifest import MANIFEST, Manifest
from models.bundle.reference import Reference, reference_bytes
from models.decision import Decision
from services.cli.main import run
from streams.access.identity import service
from streams.access.signatures import signed
from streams.contracts.rollout import RolloutRecord
from streams.contracts.text.json_encoding import encode
from streams.log.rollouts.kept import keep
from streams.runtime.dead_letters import DeadLetter, decode_dead_letter
from streams.runtime.kafka.clients import flush, new_consumer, new_producer
from streams.runtime.settings import Settings
from tests.support.archive_samples import START_MS, decision, features, outcomes, transaction
from tests.support.feature_batches import decode_features, encode_features

ROOT = Path(__file__).parents[2]
DRIFT_PYTHON = ROOT / ".venv-drift" / "bin" / "python"


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]) -> Iterator[Settings]:
    """A broker for each test: source offsets here are made up and would confuse whatever shares it."""
    settings = stack.settings_for(tmp_path_factory.mktemp("archive-drift"), free_port_base())
    settings = stack.start(settings, only=("kafka",), wait_s=90)
    try:
        yield settings
    finally:
        stack.stop(settings, purge=True)


class Worker:
    """One process of the stack, started and killed by the test."""

    def __init__(self, settings: Settings, python: Path, module: str, name: str) -> None:
        self._log = settings.root.parent / f"{name}-{settings.port_base}.log"
        command = [str(python), "-m", module, "--home", settings.home, "--name", name]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=log
            )

    def check(self) -> None:
        """Fail with the end of its log when it is gone."""
        if self._process.poll() is not None:
            pytest.fail(f"the process ended ({self._process.returncode}):\n{self._log.read_text()[-3000:]}")

    def end(self, how: int) -> int:
        self._process.send_signal(how)
        return self._process.wait(30)


def until(done: Callable[[], bool], worker: Worker, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        worker.check()
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.2)


def archived(settings: Settings, topic: str) -> list[tuple[int, int]]:
    files = [str(path) for path in (settings.archive_dir / topic).glob("date=*/*.parquet")]
    if not files:
        return []
    table = ds.dataset(files).to_table(columns=["partition", "offset"])
    return sorted(zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True))


def archived_at_least(settings: Settings, topic: str, count: int) -> bool:
    return len(archived(settings, topic)) >= count


def test_every_row_is_archived_once_over_kills(broker: Settings) -> None:
    producer = new_producer(broker.kafka, "test-archive")
    worker = Worker(broker, Path(sys.executable), "streams.archive.main", "archive-0")
    total = 0
    try:
        for cycle in range(3):
            for number in range(total, total + 3000):
                partition = number % broker.partitions
                source = number // broker.partitions
                record = features(number, partition, source=source)
                producer.produce("features", partition=partition, key=record.key, value=record.value)
                producer.produce("decisions", partition=partition, value=encode(decision(number)))
                if number % 10 == 0:
                    producer.produce("outcomes", partition=partition, value=outcomes(number).value)
            total += 3000
            flush(producer, 30)
            if cycle < 2:
                # somewhere in its work: at the first kill nothing is on disk yet, later some is
                reached = 3000 * cycle
                until(
                    partial(archived_at_least, broker, "decisions", reached),
                    worker,
                    60,
                    f"{reached} decisions",
                )
                worker.end(signal.SIGKILL)
                worker = Worker(broker, Path(sys.executable), "streams.archive.main", "archive-0")
        producer.produce("decisions", partition=0, value=b"no decision")
        flush(producer, 30)
        until(partial(archived_at_least, broker, "features", total), worker, 90, "every features row")
        until(partial(archived_at_least, broker, "decisions", total), worker, 90, "every decision")
        until(partial(archived_at_least, broker, "outcomes", total // 10), worker, 90, "every outcome")
    finally:
        code = worker.end(signal.SIGTERM)
    assert code == 0
    for topic, count in (("features", total), ("decisions", total), ("outcomes", total // 10)):
        rows = archived(broker, topic)
        assert len(rows) == len(set(rows)) == count, topic
    assert not list(broker.archive_dir.rglob("*.tmp"))
    letter = first_dead_letter(broker)
    assert letter.source_topic == "decisions" and letter.reason == "unreadable"
    assert letter.original_bytes() == b"no decision"


def first_dead_letter(settings: Settings) -> DeadLetter:
    consumer = new_consumer(settings.kafka, "test-dead-letters")
    consumer.assign([TopicPartition("dead-letters", 0, 0)])
    deadline = time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                return decode_dead_letter(message.value())
    finally:
        consumer.close()
    pytest.fail("no dead letter within 20 s")


def traffic(rng: np.random.Generator, rows: int, factor: float = 1.0) -> np.ndarray:
    out = np.full((rows, WIDTH), np.nan, dtype=np.float32)
    out[:, INDEX["hour"]], out[:, INDEX["weekend"]], out[:, INDEX["currency_code"]] = 10, 0, 1
    out[:, INDEX["channel"]] = rng.choice([0, 0, 1], rows)
    out[:, INDEX["amount"]] = np.exp(rng.normal(8, 0.8, rows)) * factor
    out[:, INDEX["card_cross_border"]] = rng.random(rows) < 0.1
    return out


def publish_bundle(settings: Settings) -> None:
    folder = settings.bundles_dir / "fraud" / "1.0.0"
    folder.mkdir(parents=True)
    reference = Reference(traffic(np.random.default_rng(1), 2000), np.zeros(2000, np.float32), NAMES)
    (folder / "reference.npz").write_bytes(reference_bytes(reference))
    manifest = Manifest(
        model="fraud", version="1.0.0", catalogue_hash=CATALOGUE_HASH, feature_names=list(NAMES), files={},
        created_at=datetime.now(UTC), definitions=list(OWN.definitions),
    )  # fmt: skip
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    record = RolloutRecord(
        model="fraud", champion="1.0.0", previous=None, arms={"champion": "1.0.0"}, traffic={"champion": 1.0}, state="live",
        approved_by="test", why="test", since=datetime.now(UTC), sequence=1,
    )  # fmt: skip
    identity = service(settings.access_dir, "rollout", datetime.now(UTC))
    keep(settings.rollout_dir, "fraud", signed(identity, "rollouts", encode(record)))


@pytest.mark.skipif(
    not DRIFT_PYTHON.exists(), reason="no .venv-drift: `make setup` brings the drift stream's environment"
)
def test_drift_becomes_rows_and_one_request_with_evidence(
    broker: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    producer = new_producer(broker.kafka, "test-drift")
    publish_bundle(broker)
    rng = np.random.default_rng(2)
    sample = decode_features(features(0).value)
    sent = 0

    def send(rows: int, factor: float) -> None:
        nonlocal sent
        for vector in traffic(rng, rows, factor):
            sent += 1
            # ten payments a second, each of another card
            partition, at = sent % broker.partitions, START_MS + 100 * sent
            record = msgspec.structs.replace(
                sample,
                partition=partition,
                offset=10**6 + sent,
                event_ms=at,
                transaction=msgspec.structs.replace(transaction(sent, at), card_id=f"card-{sent}"),
                vector=vector.tobytes(),
                catalogue=CATALOGUE_HASH,
            )
            producer.produce("features", partition=partition, value=encode_features(record))
            scored: Decision = decision(sent)
            producer.produce("decisions", partition=partition, value=encode(scored))
        flush(producer, 30)

    def shown() -> dict[str, list[dict]]:
        assert run(["drift", "--home", broker.home, "--json", "-n", "100"]) == 0
        answer: dict[str, list[dict]] = json.loads(capsys.readouterr().out)
        return answer

    assert shown() == {"drift": [], "retraining": []}
    send(800, 1.0)
    worker = Worker(broker, DRIFT_PYTHON, "streams.drift.main", "drift-0")
    try:

        def tested() -> bool:
            # at most a few hundred rows a second are looked at
            send(500, 1.0)
            return bool(shown()["drift"])

        until(tested, worker, 90, "a first round of tests")
        assert {row["severity"] for row in shown()["drift"]} == {"none"}

        def asked() -> bool:
            send(1300, 2.5)
            return bool(shown()["retraining"])

        until(asked, worker, 90, "a retraining request")
        rounds = len(shown()["drift"])

        def one_more() -> bool:
            send(500, 2.5)
            return len(shown()["drift"]) > rounds

        until(one_more, worker, 60, "one more round")
    finally:
        code = worker.end(signal.SIGTERM)
    assert code == 0
    # found in every round since, asked for once
    (request,) = shown()["retraining"]
    assert request["reason"] == "drift" and request["model"] == "fraud"
    assert "amount" in {row["feature"] for row in request["evidence"]}
    assert {row["severity"] for row in request["evidence"]} == {"critical"}
    assert run(["drift", "--home", broker.home]) == 0
    assert "retraining of fraud requested by drift" in " ".join(capsys.readouterr().out.split())
