"""A catalogue entry that needs more memory, rolled out on a broker and a Redis while traffic flows: prepared beside the old
processor, switched over, gone back, dropped.

The new code is a copy of this one with one more field in the payers' record and an entry that is read from it: the largest
payment ever, which no profile stored before can know.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from features.catalogue import CATALOGUE_HASH
from features.store.keys import EVERY_STATE_KEY, profile_version, version_of
from features.store.partition_lease import REBUILDING_KEY
from infra import stack
from infra.stack.tools import find_tools
from streams.log.feature_batch import FeatureRecord
from streams.log.topics import FEATURES, TRANSACTIONS
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.support.feature_batches import rows_in
from tests.support.running import read_topic
from tests.support.waiting import STALL_S, until

ROOT = Path(__file__).resolve().parents[2]
ENTRY = """        _f(f"{entity}_largest_ever", entity, "minor units", f"largest payment of the {noun} so far", reads=("largest",)),
"""
CHANGES = {
    "features/profile/records.py": [
        ("STATE_VERSION = 1\n", "STATE_VERSION = 2\n"),
        ('("old_high", "u1", (OLD,)),\n', '("old_high", "u1", (OLD,)),\n        ("largest", "<i8"),\n'),
    ],
    "features/catalogue.py": [
        ('        _f(f"{entity}_new_merchant", entity,', ENTRY + '        _f(f"{entity}_new_merchant", entity,'),
    ],
    "features/kernels/payer.py": [
        ('\n_NEW_MERCHANT,', '\n_LARGEST = _of("largest_ever")\n_NEW_MERCHANT,'),
        ("    row[_AGE] =", "    row[_LARGEST] = p.largest\n    row[_AGE] ="),
        ("    _count_habits(tx, t, p)\n", "    _count_habits(tx, t, p)\n    p.largest = max(p.largest, tx.amount)\n"),
    ],
}  # fmt: skip
#: prints, of transactions in their order, the cards' own entries as an offline replay has them, and where those lie in a row
REPLAY = """
import json, sys
import pyarrow as pa
from features.catalogue import CATALOGUE_HASH, NAMES
from features.replay import replay
from features.transaction import Transaction
import msgspec

rows = msgspec.json.decode(open(sys.argv[1]).read(), type=list[Transaction])
names = ["transaction_id", "card_id", "merchant_id", "amount_minor", "currency", "device_id", "country", "channel"]
table = pa.table({**{name: [getattr(row, name) for row in rows] for name in names},
                  "event_time": pa.array([row.event_time for row in rows], pa.timestamp("ms", "UTC"))})
own = [i for i, name in enumerate(NAMES) if name.startswith("card_") and name not in ("card_frauds_30d", "card_declined_1h")]
values = replay(table, batch=1)[:, own]
print(json.dumps({"catalogue": CATALOGUE_HASH, "width": len(NAMES), "columns": own,
                  "largest": own.index(NAMES.index("card_largest_ever")), "bits": values.view("<u4").tolist()}))
"""
CARDS, HISTORY = 20, 3_000
#: what processors say, in the stack's logs
LOG = "takeover-processors.log"
START = datetime.now(UTC) - timedelta(days=60)


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, free_port_base: Callable[[], int]
) -> Iterator[Settings]:
    """A broker and a Redis of this module's own: it changes what state is at work."""
    home = tmp_path_factory.mktemp("takeover")
    found = stack.start(
        stack.settings_for(home, free_port_base(), embedded=not find_tools().real_kafka),
        only=("kafka", "redis"),
        wait_s=90,
    )
    try:
        yield found
    finally:
        stack.stop(found, purge=True)


@pytest.fixture(scope="module")
def new_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy, its kernels compiled."""
    root = tmp_path_factory.mktemp("new")
    for name in ("features", "models", "streams", "services"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in CHANGES.items():
        text = (root / name).read_text()
        for before, after in changes:
            assert text.count(before) == 1, f"{before!r} is not in {name} any more"
            text = text.replace(before, after)
        (root / name).write_text(text)
    run(root, "-m", "features.store.warm")
    return root


def run(code: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python command of that code, which must succeed."""
    done = started(code, *arguments)
    out, err = done.communicate(timeout=400)
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{out[-2000:]}\n{err[-3000:]}"
    return subprocess.CompletedProcess(arguments, done.returncode, out, err)


def started(code: Path, *arguments: str, log: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=code, env=environment, stdout=log, stderr=log, text=True
    )


def cli(code: Path, settings: Settings, *arguments: str) -> Any:
    done = run(code, "-m", "services.cli.main", *arguments, "--home", settings.home, "--json")
    return json.loads(done.stdout)


@contextmanager
def processor(code: Path, settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A processor of that code until the block ends; it is asked to stop, as a deployment would."""
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    with (settings.log_dir / LOG).open("a") as log:
        process = started(code, "-m", "streams.processor.main", "--home", settings.home, log=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STALL_S)
            finally:
                process.kill()


class Traffic:
    """Payments of a few cards, one after the other, each later than the one before; largest first, so that it is long gone."""

    def __init__(self, settings: Settings) -> None:
        self._producer = new_producer(settings.kafka, "takeover")
        self._random = random.Random(7)
        self.sent: list[dict[str, Any]] = []

    def send(self, count: int) -> None:
        for _ in range(count):
            number = len(self.sent)
            # two days pass in the first payments, then 25 seconds with each
            moment = START + timedelta(days=min(number / 20, 58), seconds=number * 25)
            body = {
                "transaction_id": f"takeover-{number}", "event_time": moment.isoformat(timespec="milliseconds"),
                "card_id": f"card-{number % CARDS}", "merchant_id": f"m-{self._random.randrange(9)}",
                "amount_minor": 9_000_000 + number if number < CARDS else self._random.randrange(100, 90_000),
                "currency": "EUR", "device_id": f"d-{self._random.randrange(4)}", "country": "FR", "channel": "ecom",
                "customer_id": f"cu-{number % 7}",
            }  # fmt: skip
            self.sent.append(body)
            self._producer.produce(TRANSACTIONS.name, key=body["card_id"], value=json.dumps(body).encode())
        flush(self._producer, STALL_S)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Some payments every 0.1 s beside the block."""
        stop, failed = threading.Event(), []

        def keep_sending() -> None:
            try:
                while not stop.wait(0.1):
                    self.send(7)
            except Exception as error:  # noqa: BLE001 - told below
                failed.append(error)

        thread = threading.Thread(target=keep_sending)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(STALL_S)
        assert not failed


def made(settings: Settings) -> list[FeatureRecord]:
    """All rows of features, each partition's in order."""
    records = read_topic(
        settings, FEATURES.name, dict.fromkeys(range(settings.partitions), 0), timeout_s=STALL_S
    )
    return rows_in(record.value() for record in records)


def all_made(settings: Settings, traffic: Traffic) -> list[FeatureRecord]:
    def missing() -> list[str]:
        there = {record.transaction.transaction_id for record in made(settings)}
        return [sent["transaction_id"] for sent in traffic.sent if sent["transaction_id"] not in there]

    try:
        until(lambda: not missing(), 180, "features of everything that was sent")
    except TimeoutError:
        without, said = missing(), (settings.log_dir / LOG).read_text()
        raise AssertionError(
            f"{len(without)} of {len(traffic.sent)} have no features: {without[:5]}...; processors said last: {said[-4000:]}"
        ) from None
    return made(settings)


def counted(records: list[FeatureRecord]) -> list[FeatureRecord]:
    """Those that count, by scoring's rule: nothing at or below the last source offset."""
    last: dict[int, int] = {}
    out = []
    for record in records:
        if record.offset > last.get(record.partition, -1):
            last[record.partition] = record.offset
            out.append(record)
    return out


def check_once(records: list[FeatureRecord], traffic: Traffic) -> None:
    found = Counter(record.transaction.transaction_id for record in counted(records))
    assert found == Counter(body["transaction_id"] for body in traffic.sent)


def switches(records: list[FeatureRecord], partition: int) -> list[str]:
    """The catalogues of a partition's records, in order, each run as one."""
    runs: list[str] = []
    for record in records:
        if record.partition == partition and (not runs or runs[-1] != record.catalogue):
            runs.append(record.catalogue)
    return runs


def check_values(records: list[FeatureRecord], traffic: Traffic, code: Path, folder: Path) -> None:
    """What the new code served are the bits of an offline replay of the whole history by that code."""
    (folder / "sent.json").write_text(json.dumps(traffic.sent))
    (folder / "replay.py").write_text(REPLAY)
    replayed = json.loads(run(code, str(folder / "replay.py"), str(folder / "sent.json")).stdout)
    place = {body["transaction_id"]: i for i, body in enumerate(traffic.sent)}
    served = [record for record in counted(records) if record.catalogue != CATALOGUE_HASH]
    assert len(served) > 50
    for record in served:
        assert record.catalogue == replayed["catalogue"]
        row = np.frombuffer(record.vector, "<u4")
        assert len(row) == replayed["width"]
        wanted = replayed["bits"][place[record.transaction.transaction_id]]
        assert row[replayed["columns"]].tolist() == wanted
        # a payment of two months ago, which the old state has long forgotten
        assert np.array(wanted[replayed["largest"]], "<u4").view("<f4") >= 9_000_000


@pytest.mark.timeout(900)
def test_an_entry_with_more_memory_is_rolled_out_and_back_while_traffic_flows(
    settings: Settings, new_code: Path, tmp_path: Path
) -> None:
    store, traffic = redis.Redis.from_url(settings.redis), Traffic(settings)
    with processor(ROOT, settings):
        traffic.send(HISTORY)
        all_made(settings, traffic)
        with traffic.flowing():
            before = len(traffic.sent)
            prepared = cli(new_code, settings, "features", "prepare")
        assert (prepared["version"], prepared["nothing_to_do"]) == (2, None)
        assert prepared["transactions"] >= HISTORY
        # nobody was disturbed: what came meanwhile has its features, from the state as it was
        assert len(traffic.sent) > before
        records = all_made(settings, traffic)
        assert {(record.catalogue, record.missing) for record in records} == {(CATALOGUE_HASH, 0)}
        assert store.get(REBUILDING_KEY) is None
        again = cli(new_code, settings, "features", "prepare")
        assert "records behind" in again["nothing_to_do"]
    with traffic.flowing():
        with processor(new_code, settings):
            until(
                lambda: made(settings)[-1].catalogue != CATALOGUE_HASH, 180, "features of the new catalogue"
            )
            new = made(settings)[-1].catalogue
            assert (
                "version 2, which this code reads"
                in cli(new_code, settings, "features", "prepare")["nothing_to_do"]
            )
            traffic.send(500)
            until(lambda: sum(r.catalogue == new for r in made(settings)) > 500, 180, "more of them")
        # and back: nothing that the new code did is done again
        with processor(ROOT, settings):
            traffic.send(100)
            until(
                lambda: made(settings)[-1].catalogue == CATALOGUE_HASH, 180, "features of the old catalogue"
            )
    with processor(ROOT, settings):
        records = all_made(settings, traffic)
        check_once(records, traffic)
        for partition in range(settings.partitions):
            assert switches(records, partition) == [CATALOGUE_HASH, new, CATALOGUE_HASH]
        assert len(records) == len(traffic.sent)
    check_values(records, traffic, new_code, tmp_path)
    check_dropped(settings, store)


def check_dropped(settings: Settings, store: redis.Redis) -> None:
    """Of the version that is dropped nothing is left, of the other everything."""

    def stored(version: int) -> set[bytes]:
        return {key for key in store.scan_iter(match=EVERY_STATE_KEY) if profile_version(key) == version}

    done = started(ROOT, "-m", "services.cli.main", "features", "drop-version", "1", "--home", settings.home)
    _, said = done.communicate(timeout=STALL_S)
    assert (done.returncode, "this code reads state version 1" in said) == (2, True)
    own, other = stored(1), stored(2)
    assert own and len(other) >= CARDS
    gone = cli(ROOT, settings, "features", "drop-version", "2")
    assert gone["profiles"] == len(other)
    assert (stored(1), stored(2)) == (own, set())
    left = [key for key in store.scan_iter(match=EVERY_STATE_KEY) if version_of(key) == 2]
    assert all(key.endswith(b":epoch") for key in left)
    # a rebuild makes the version of its code, from what is left of the store
    rebuilt = cli(ROOT, settings, "features", "rebuild", "--clear")
    assert rebuilt["transactions"] > HISTORY
    assert stored(1) == own
    assert store.get(REBUILDING_KEY) is None
