"""A backup is taken while traffic flows, the machine is lost, the backup is restored elsewhere, and producers send again what they sent.

Nothing is decided twice (no payment gets a second row of features), and features are equal to the bit to what the log says.
"""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra import stack
from infra.backup.contents import LIST, BackupError
from infra.backup.making import make_backup
from infra.backup.restoring import check_backup, restore_backup
from infra.stack.tools import find_tools
from services.cli.main import run
from streams.log.topics import FEATURES, TRANSACTIONS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.support.feature_batches import rows_in
from tests.support.running import read_topic
from tests.support.waiting import STALL_S, until

ONLY = ("kafka", "redis", "processor-0")
NOW = datetime.now(UTC)
CARDS = 20


def payment(number: int) -> dict[str, Any]:
    chance = random.Random(number)
    return {
        "transaction_id": f"backup-{number}", "event_time": (NOW - timedelta(days=3) + timedelta(seconds=20 * number)).isoformat(timespec="milliseconds"),
        "card_id": f"card-{number % CARDS}", "merchant_id": f"m-{chance.randrange(9)}", "amount_minor": chance.randrange(100, 90_000),
        "currency": "EUR", "device_id": f"d-{chance.randrange(4)}", "country": "FR", "channel": "ecom", "customer_id": f"cu-{number % 7}",
    }  # fmt: skip


def send(settings: Settings, numbers: range) -> None:
    producer = new_producer(settings.kafka, "backup-test")
    for body in map(payment, numbers):
        producer.produce(TRANSACTIONS.name, key=body["card_id"], value=json.dumps(body))
    flush(producer, STALL_S)


def made(settings: Settings) -> list[str]:
    """The payments that have features, in the topic's order: one name for each row."""
    every = dict.fromkeys(range(settings.partitions), 0)
    records = read_topic(settings, FEATURES.name, every, timeout_s=STALL_S)
    last: dict[int, int] = {}
    names = []
    for row in rows_in(record.value() for record in records):
        # readers drop what is at or below the last source offset
        if row.offset > last.get(row.partition, -1):
            last[row.partition] = row.offset
            names.append(row.transaction.transaction_id)
    return names


@contextmanager
def flowing(settings: Settings, first: int) -> Iterator[list[int]]:
    """A few payments every 0.05 s beside the block; yields a list whose last entry is the next number."""
    stop, at, failed = threading.Event(), [first], []

    def keep_sending() -> None:
        try:
            while not stop.wait(0.05):
                send(settings, range(at[-1], at[-1] + 9))
                at.append(at[-1] + 9)
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=keep_sending)
    thread.start()
    try:
        yield at
    finally:
        stop.set()
        thread.join(STALL_S)
    assert not failed


@pytest.mark.timeout(600)
def test_what_is_restored_goes_on_where_the_backup_was_taken(
    tmp_path: Path, free_port_base: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    if not find_tools().real_kafka:
        pytest.skip("Kafka's jars or Java are missing: the embedded broker has no log to back up")
    folder, home = tmp_path / "backup", tmp_path / "restored"
    lost = stack.start(stack.settings_for(tmp_path / "lost", free_port_base()), only=ONLY, wait_s=120)
    try:
        send(lost, range(1_500))
        until(lambda: len(made(lost)) == 1_500, 240, "features of the first payments")
        with flowing(lost, 1_500) as at:
            until(lambda: at[-1] > 1_600, STALL_S, "traffic")
            before = at[-1]
            make_backup(lost, folder)
            until(lambda: at[-1] > before, STALL_S, "traffic after the backup")
        sent = at[-1]
    finally:
        stack.stop(lost, purge=True)
    assert (folder.stat().st_mode & 0o077) == 0
    restored = stack.start(restore_backup(folder, home, free_port_base()), only=ONLY, wait_s=120)
    try:
        found = until_settled(restored)
        # all that had features when the backup began, and nothing twice
        assert set(found) >= {f"backup-{number}" for number in range(1_500)}
        assert max(Counter(found).values()) == 1
        # producers send again what they know to have sent, and go on
        send(restored, range(sent))
        send(restored, range(sent, sent + 300))
        everything = Counter(f"backup-{number}" for number in range(sent + 300))
        until(lambda: set(made(restored)) == set(everything), 120, "features of everything")
        assert Counter(made(restored)) == everything
        assert run(["parity", "--home", str(home), "--sample", "500", "--json"]) == 0
        verdict = json.loads(capsys.readouterr().out)
        assert (verdict["unexplained"], verdict["compared"] >= 400) == (0, True), verdict
    finally:
        stack.stop(restored, purge=True)


def until_settled(settings: Settings) -> list[str]:
    """The payments with features once the processor has done all that the restored log holds."""
    every = dict.fromkeys(range(settings.partitions), 0)

    def named() -> set[str]:
        records = read_topic(settings, TRANSACTIONS.name, every, timeout_s=STALL_S)
        return {json.loads(record.value())["transaction_id"] for record in records}

    until(lambda: set(made(settings)) == named(), 120, "features of what the restored log holds")
    return made(settings)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a home whose stack does not run."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("made") / "backup"
    settings = stack.settings_for(home, 20_000)
    settings.save()
    (home / "keys").mkdir()
    (home / "keys" / "secret").write_text("s" * 40)
    (home / "redis").mkdir()
    (home / "redis" / "redis.conf").write_text("port 1\n")
    make_backup(settings, folder)
    return folder


def test_a_stack_that_does_not_run_is_restored_with_other_ports(stopped: Path, tmp_path: Path) -> None:
    settings = restore_backup(stopped, tmp_path / "new", 21_000)
    assert settings.port_base == 21_000 and settings.home == str(tmp_path / "new")
    assert (settings.kafka, settings.http) == ("127.0.0.1:21000", stack.settings_for(tmp_path, 21_000).http)
    assert (tmp_path / "new" / "keys" / "secret").read_text() == "s" * 40
    assert not list((tmp_path / "new").rglob("backup.json"))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda folder: (folder / "keys" / "secret").write_text("t" * 40), "keys/secret was changed"),
        (lambda folder: (folder / "keys" / "secret").write_text("s"), "keys/secret was changed"),
        (lambda folder: (folder / "keys" / "secret").unlink(), "keys/secret is missing"),
        (lambda folder: (folder / LIST).unlink(), "not finished"),
        (lambda folder: (folder / LIST).write_text("{"), "cannot be read"),
        (lambda folder: (folder / LIST).write_text((folder / LIST).read_text().replace("keys/secret", "../secret")), "outside the backup"),
        (lambda folder: (folder / LIST).write_text((folder / LIST).read_text().replace('"format": 1', '"format": 2')), "cannot be read"),
    ],
    ids=["changed", "cut", "missing", "unfinished", "no list", "outside", "of another format"],
)  # fmt: skip
def test_a_backup_that_is_not_whole_restores_nothing(
    stopped: Path, tmp_path: Path, harm: Callable[[Path], object], why: str
) -> None:
    folder = tmp_path / "harmed"
    shutil.copytree(stopped, folder)
    harm(folder)
    for refused in (lambda: check_backup(folder), lambda: restore_backup(folder, tmp_path / "new")):
        with pytest.raises(BackupError, match=why):
            refused()
    assert not (tmp_path / "new").exists()


def test_neither_overwrites_anything(stopped: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(BackupError, match="not empty"):
        restore_backup(stopped, tmp_path)
    with pytest.raises(BackupError, match="not empty"):
        make_backup(stack.settings_for(tmp_path, 20_000), tmp_path)
    with pytest.raises(BackupError, match="embedded"):
        make_backup(stack.settings_for(tmp_path, 20_000, embedded=True), tmp_path / "new")
    assert (tmp_path / "mine").read_text() == "mine"
