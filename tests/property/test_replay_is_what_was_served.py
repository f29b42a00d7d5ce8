"""An archive replayed, decisions and labels included, gives every column of what was served, to the bit."""

from __future__ import annotations

import json
import random
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import CATALOGUE_HASH, INDEX, NAMES
from features.replay import replay
from features.store.partitions import partitions_of
from features.transaction import Transaction, from_ms
from services.cli.main import run
from streams.archive.history_table import Archived, archived_history
from streams.archive.writer import Archive
from streams.contracts.label import Label
from streams.contracts.text.json_encoding import encode
from streams.log.records import HEADER_ENTITIES, DecidedEntities, encode_entities
from streams.runtime.settings import Settings
from tests.support.archive_samples import decision
from tests.support.labels_worker import LabelsWorker
from tests.support.parity_world import PARTITIONS, MemoryLog, MemoryRedis, Worker

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
ALL = 1_000_000


class Shop:
    """Traffic of which every part is applied before the next payment comes: payments, also late and repeated, declines, labels."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.log, redis = MemoryLog(), MemoryRedis()
        self.processor, self.labels = Worker(self.log, redis), LabelsWorker(self.log, redis)
        self.paid: list[Transaction] = []

    def run(self, steps: int) -> None:
        for _ in range(steps):
            # one thing at a time, and each at a time of its own
            self.log.now_ms += 1 + self.pick.choice(
                [0, 900, MINUTE_MS, 20 * MINUTE_MS, DAY_MS // 2, 3 * DAY_MS]
            )
            roll = self.pick.random()
            if roll < 0.6 or not self.paid:
                tx = self._transaction()
                if self.pick.random() < 0.1:
                    # its label comes before it does
                    self._say(tx, "fraud")
                    self.log.now_ms += 1
                self._pay(tx)
            elif roll < 0.65:
                self._send(self.pick.choice(self.paid[-5:]))
            else:
                self._say(self.pick.choice(self.paid), self.pick.choice(["fraud", "fraud", "legit"]))

    def _pay(self, tx: Transaction) -> None:
        self._send(tx)
        self.paid.append(tx)
        self.log.now_ms += 1
        made = msgspec.structs.replace(
            decision(0), transaction_id=tx.transaction_id, card_id=tx.card_id, event_time=tx.event_time,
            decision=self.pick.choice(["approve", "decline"]), decided_at=from_ms(self.log.now_ms),
        )  # fmt: skip
        named = DecidedEntities(tx.merchant_id, tx.device_id, tx.ip, tx.customer_id)
        headers = [(HEADER_ENTITIES, encode_entities(named))]
        self.log.produce("decisions", value=encode(made), partition=_home(tx.card_id), headers=headers)
        self._settle()

    def _send(self, tx: Transaction) -> None:
        self.log.produce("transactions", tx.card_id, encode(tx), _home(tx.card_id))
        self._settle()

    def _say(self, tx: Transaction, said: Any) -> None:
        label = Label(
            transaction_id=tx.transaction_id, label=said, label_time=from_ms(self.log.now_ms), source="chargeback",
            card_id=tx.card_id, merchant_id=tx.merchant_id, event_time=tx.event_time,
        )  # fmt: skip
        self.log.produce("labels", value=encode(label), partition=_home(tx.card_id))
        self._settle()

    def _settle(self) -> None:
        for topic in ("labels", "decisions"):
            self.labels.step(topic, ALL)
        for topic in ("transactions", "entities"):
            self.processor.step(topic, ALL)

    def _transaction(self) -> Transaction:
        pick = self.pick
        late_ms = pick.choice([0, 0, 0, 5, 2 * MINUTE_MS, 3 * DAY_MS])
        return Transaction(
            transaction_id=f"t{len(self.paid)}", event_time=from_ms(self.log.now_ms) - timedelta(milliseconds=late_ms),
            card_id=f"card-{pick.randrange(3)}", merchant_id=f"m-{pick.randrange(2)}", amount_minor=pick.randrange(1, 20_000),
            currency=pick.choice(["EUR", "USD"]), device_id=pick.choice([None, "d-1", "d-2"]),
            ip=pick.choice([None, "203.0.113.7"]), customer_id=pick.choice([None, "cu-1", "cu-2"]),
            country=pick.choice([None, "FR", "DE"]), latitude=pick.choice([None, 48.8, 52.5]), longitude=2.3,
            channel=pick.choice([None, "ecom", "pos"]), mcc=pick.choice([None, "5411"]),
        )  # fmt: skip

    def archived(self, root: Path) -> tuple[Archived, np.ndarray]:
        """The archive's history and, in its order, the vectors that were served, float32 (n, WIDTH)."""
        archive = Archive(root, _refuse)
        for topic in ("features", "decisions", "outcomes"):
            archive.add(self.log.records(topic), 0.0)
        archive.close()
        found = archived_history(root)
        served = ds.dataset(root / "features").to_table()
        order = {name: at for at, name in enumerate(served["transaction_id"].to_pylist())}
        served = served.take([order[name] for name in found.history["transaction_id"].to_pylist()])
        return found, np.column_stack([served[name].to_numpy() for name in NAMES])


def _home(card_id: str) -> int:
    return int(partitions_of([card_id], PARTITIONS)[0])


def _refuse(record: Any, reason: str) -> None:
    raise AssertionError(f"{record.topic}[{record.partition}] offset {record.offset}: {reason}")


def differing(ours: np.ndarray, served: np.ndarray) -> dict[str, int]:
    """Columns that are not the same to the bit, and in how many rows."""
    other = (ours.view(np.uint32) != served.view(np.uint32)) & ~(np.isnan(ours) & np.isnan(served))
    return {NAMES[column]: int(other[:, column].sum()) for column in np.flatnonzero(other.any(axis=0))}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_every_column_of_what_was_served_comes_back(seed: int) -> None:
    shop = Shop(seed)
    shop.run(60)
    with tempfile.TemporaryDirectory() as root:
        found, served = shop.archived(Path(root))
    assert found.history.num_rows == len(shop.paid)
    ours = replay(found.history, labels=found.labels, batch=1)
    assert differing(ours, np.ascontiguousarray(served)) == {}


def test_the_traffic_shows_what_it_should(tmp_path: Path) -> None:
    """Declines, frauds, late payments and corrections occur, and are missed where they are not given to the replay."""
    shop = Shop(5)
    shop.run(300)
    found, served = shop.archived(tmp_path)
    served = np.ascontiguousarray(served)
    for entry in ("card_declined_1h", "customer_declined_1h", "card_frauds_30d", "customer_frauds_30d",
                  "merchant_fraud_rate_30d", "device_fraud_rate_30d", "ip_fraud_rate_30d"):  # fmt: skip
        assert np.nanmax(served[:, INDEX[entry]]) > 0, entry
    said = found.labels["transaction_id"].to_pylist()
    assert len(said) > len(set(said))
    assert differing(replay(found.history, labels=found.labels, batch=1), served) == {}
    undecided = found.history.drop_columns(["decision"])
    missed = differing(replay(undecided, labels=found.labels, batch=1), served)
    assert set(missed) == {"card_declined_1h", "customer_declined_1h"}
    assert differing(replay(found.history, batch=1), served)


def test_in_larger_batches_differs_what_the_replay_says(tmp_path: Path) -> None:
    shop = Shop(6)
    shop.run(200)
    found, served = shop.archived(tmp_path)
    ours = replay(found.history, labels=found.labels, batch=64)
    moved = {name.split("_")[0] for name in differing(ours, np.ascontiguousarray(served))}
    assert moved and moved <= {"customer", "merchant", "device", "ip"}


def test_the_command_writes_what_the_replay_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, out = tmp_path / "home", tmp_path / "again.parquet"
    known = Settings(home=str(home))
    known.save()
    command = ["features", "replay", str(out), "--json", "--home", str(home)]
    assert run(command) == 1
    assert "no transaction is archived" in capsys.readouterr().err
    shop = Shop(7)
    shop.run(50)
    found, _ = shop.archived(known.archive_dir)
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == found.history.num_rows == len(shop.paid)
    written = pq.read_table(out)
    assert written.schema.metadata == {b"catalogue": CATALOGUE_HASH.encode()}
    assert written["transaction_id"].equals(found.history["transaction_id"])
    ours = np.column_stack([written[name].to_numpy() for name in NAMES])
    assert differing(ours, replay(found.history, labels=found.labels)) == {}


def test_an_archive_without_anything_is_an_empty_history(tmp_path: Path) -> None:
    found = archived_history(tmp_path)
    assert (found.history.num_rows, found.labels.num_rows) == (0, 0)
    assert replay(found.history, labels=found.labels).shape == (0, len(NAMES))
    assert isinstance(found.labels, pa.Table)
