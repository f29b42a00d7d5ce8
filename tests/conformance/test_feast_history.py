"""What Feast joins from the archive is, to the bit, what was served and what the trainer learns from: late payments, equal event
times and repetitions included.

The processor's own stages and the archive's own writer at work; only the log and the store are in memory. On a whole stack:
``tests/e2e/test_history_is_what_was_served.py``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from feast import FeatureStore

from features.catalogue import INDEX, LATE_BOUND_S, NAMES
from features.feast_repo.apply import apply_repo, open_store
from features.feast_repo.definitions import HISTORY_SERVICE, SERVED_SERVICE
from features.transaction import Transaction, from_ms
from models.training.archived import from_archive
from models.training.dataset import Dataset
from models.training.label_states import MATURITY_MS
from streams.archive.writer import Archive
from streams.contracts.outcome import Outcome
from streams.contracts.text.json_encoding import encode
from streams.log.feature_batch import FeatureRecord
from tests.support import archive_samples
from tests.support.archive_samples import decision
from tests.support.parity_world import APPENDED_MS, PARTITIONS
from tests.support.stage import Stage

#: flushes that the archive is written in, by as many runs of its process
RUNS = 3


class LateAndEqual(Stage):
    """The little world, where a quarter of the payments share card and event time with another and some are a day late."""

    def _transaction(self) -> Transaction:
        tx = super()._transaction()
        chance = self.random.random()
        if self.sent and chance < 0.25:
            other = self.random.choice(self.sent[-8:])
            return msgspec.structs.replace(tx, card_id=other.card_id, event_time=other.event_time)
        if chance < 0.35:
            return msgspec.structs.replace(
                tx, event_time=tx.event_time - timedelta(seconds=LATE_BOUND_S + 7_200)
            )
        return tx


@dataclass(frozen=True)
class World:
    """A store over an archive, and by transaction what was served: the first of its records on `features`."""

    store: FeatureStore
    served: dict[str, FeatureRecord]
    #: duplicates too
    records: int
    archive: Path
    #: transactions whose label said fraud
    frauds: set[str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("history")
    stage = LateAndEqual(20)
    stage.run(260)
    records = stage.log.records("features")
    _archive(root / "archive", records)
    apply_repo(root / "feast", "redis://127.0.0.1:1", PARTITIONS, root / "archive")
    served: dict[str, FeatureRecord] = {}
    rows = stage.made()
    for made in rows:
        served.setdefault(made.transaction.transaction_id, made)
    frauds = _label(root / "archive", list(served.values()))
    return World(open_store(root / "feast"), served, len(rows), root / "archive", frauds)


def _label(root: Path, made: list[FeatureRecord]) -> set[str]:
    """Archive outcomes of three payments in four, a third of them frauds; some labels are corrected later. The frauds' ids."""
    chance, outcomes, frauds = Random(5), [], set()
    for record in made:
        tx = record.transaction
        for word in chance.choice([[], ["legit"], ["fraud"], ["fraud", "legit"]]):
            said_at = from_ms(record.event_ms) + timedelta(hours=1 + len(outcomes))
            decided = msgspec.structs.replace(
                decision(0), transaction_id=tx.transaction_id, card_id=tx.card_id, event_time=tx.event_time
            )
            outcome = Outcome(
                decision=decided, label=word, label_time=said_at, source="analyst", merchant_id=tx.merchant_id
            )
            place = len(outcomes)
            outcomes.append(
                archive_samples.Record("outcomes", 0, place, APPENDED_MS + place, encode(outcome))
            )
            (frauds.add if word == "fraud" else frauds.discard)(tx.transaction_id)
    archive = Archive(root, _refuse)
    archive.add(outcomes, 0.0)
    archive.close()
    return frauds


def _refuse(record: object, reason: str) -> None:
    raise AssertionError(f"{record} refused: {reason}")


def _archive(root: Path, records: list[Any]) -> None:
    # a broker appends some records in the same millisecond
    appended = [record._replace(timestamp=APPENDED_MS + record.offset // 3) for record in records]
    for run in range(RUNS):
        archive = Archive(root, _refuse)
        starts = archive.start_positions([("features", p) for p in range(PARTITIONS)])
        assert (run > 0) == any(starts.values())
        part = appended[: len(appended) * (run + 1) // RUNS]
        archive.add([record for record in part if record.offset >= starts["features", record.partition]], 0.0)
        archive.close()


def test_every_decision_has_the_vector_that_it_was_made_with(world: World) -> None:
    made = list(world.served.values())
    asked = pd.DataFrame(
        {
            "transaction_id": [m.transaction.transaction_id for m in made],
            "event_timestamp": [from_ms(m.event_ms) for m in made],
        }
    )
    joined = _joined(world, asked, SERVED_SERVICE)
    assert sorted(joined["transaction_id"]) == sorted(world.served)
    for name, differing in _differences(joined, world.served).items():
        assert not differing, f"{name} of {differing} is not what was served"
    for row in joined.itertuples():
        own = world.served[row.transaction_id]
        assert (row.amount_minor, row.missing) == (own.transaction.amount_minor, own.missing)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_training_through_feast_learns_from_the_trainers_own_rows(world: World, share: float) -> None:
    """Rows that are old enough at the cut-off, with the labels that came: the same data set, to the bit."""
    times = sorted(made.event_ms for made in world.served.values())
    as_of_ms = times[int(share * (len(times) - 1))] + MATURITY_MS
    trainers = from_archive(world.archive, as_of_ms=as_of_ms)
    assert trainers is not None
    old = [name for name, made in world.served.items() if made.event_ms <= as_of_ms - MATURITY_MS]
    moments = [from_ms(world.served[name].event_ms) for name in old]
    joined = _joined(world, pd.DataFrame({"transaction_id": old, "event_timestamp": moments}), SERVED_SERVICE)
    names = joined["transaction_id"].tolist()
    of_feast = Dataset(
        np.ascontiguousarray(joined[list(NAMES)].to_numpy(dtype=np.float32)),
        np.array([name in world.frauds for name in names]),
        np.array([world.served[name].event_ms for name in names]),
        np.array([world.served[name].transaction.card_id for name in names]),
    )
    assert len(trainers) == len(of_feast) == len(old) > 50
    assert 0.1 < trainers.frauds / len(trainers) < 0.5
    ours, theirs = _in_one_order(trainers), _in_one_order(of_feast)
    assert ours.fingerprint() == theirs.fingerprint()
    assert ours.card.tolist() == theirs.card.tolist()


def _in_one_order(data: Dataset) -> Dataset:
    """Payments of one moment in an order of their own: neither side promises one. Every NaN with the same bits."""
    matrix = np.where(np.isnan(data.matrix), np.float32(np.nan), data.matrix)
    keys = [
        (moment, card, row.tobytes())
        for moment, card, row in zip(data.event_ms.tolist(), data.card.tolist(), matrix, strict=True)
    ]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__))
    return Dataset(matrix, data.fraud, data.event_ms, data.card).take(order)


def test_a_card_at_a_moment_has_the_vector_of_its_newest_payment_by_then(world: World) -> None:
    payments = [
        (m.transaction.card_id, m.event_ms, m.transaction.transaction_id) for m in world.served.values()
    ]
    moments = {(card, moment + beside) for card, moment, _ in payments for beside in (0, 1, 3_600_000)}
    asked = pd.DataFrame(
        [(card, from_ms(moment)) for card, moment in sorted(moments)], columns=["card_id", "event_timestamp"]
    )
    joined = _joined(world, asked, HISTORY_SERVICE)
    assert len(joined) == len(moments)
    assert not any(_differences(joined, world.served).values())
    for row in joined.itertuples():
        by_then = [
            (m, name)
            for card, m, name in payments
            if card == row.card_id and from_ms(m) <= row.event_timestamp
        ]
        newest = max(by_then)[0]
        # of payments with one event time any, whole: who wants a certain one asks by transaction
        assert row.transaction_id in [name for moment, name in by_then if moment == newest]


def test_the_world_shows_what_it_should(world: World) -> None:
    """Equal times, late payments, repeated records, vectors made at the edge and unknown features: the joins above met them."""
    made = world.served.values()
    equal = Counter((m.transaction.card_id, m.event_ms) for m in made)
    vectors = np.stack([np.frombuffer(m.vector, "<f4") for m in made])
    assert sum(count > 1 for count in equal.values()) > 20 and max(equal.values()) > 2
    assert sum(m.late_ms > LATE_BOUND_S * 1000 for m in made) > 10
    assert world.records > len(made) > 150
    assert any(m.decided for m in made) and any(m.missing for m in made)
    # of equal times the vectors differ: taking another's would be seen
    groups = [
        [m.vector for m in made if (m.transaction.card_id, m.event_ms) == key]
        for key, n in equal.items()
        if n > 1
    ]
    assert all(len(set(group)) == len(group) for group in groups)
    unknown = np.isnan(vectors)
    assert unknown.any() and not unknown.all(axis=0).all()
    assert np.nanmax(vectors[:, INDEX["card_count_24h"]]) > 2


def test_one_other_bit_and_one_unknown_are_seen(world: World) -> None:
    made = next(iter(world.served.values()))
    name = made.transaction.transaction_id
    joined = _joined(
        world,
        pd.DataFrame({"transaction_id": [name], "event_timestamp": [from_ms(made.event_ms)]}),
        SERVED_SERVICE,
    )
    vector = np.frombuffer(made.vector, dtype="<f4")
    unknown = int(np.flatnonzero(np.isnan(vector))[0])
    amount = INDEX["amount"]
    for column, value in (
        (amount, np.nextafter(vector[amount], np.float32(np.inf))), (amount, np.nan), (unknown, 0.0),
    ):  # fmt: skip
        other = vector.copy()
        other[column] = value
        changed = {name: msgspec.structs.replace(made, vector=other.tobytes())}
        assert [c for c, rows in _differences(joined, changed).items() if rows] == [NAMES[column]]


def _joined(world: World, asked: pd.DataFrame, service: str) -> pd.DataFrame:
    frame: pd.DataFrame = world.store.get_historical_features(
        asked, world.store.get_feature_service(service)
    ).to_df()
    return frame


def _differences(joined: pd.DataFrame, served: dict[str, FeatureRecord]) -> dict[str, list[str]]:
    """By column of the catalogue, the transactions whose joined value has other bits than the served one.

    Unknown is NaN in a vector and null in a frame, whatever the NaN's bits: one stands for the other, and for nothing else.
    """
    names = joined["transaction_id"].tolist()
    vectors: npt.NDArray[np.float32] = np.stack(
        [np.frombuffer(served[name].vector, dtype="<f4") for name in names]
    )
    out: dict[str, list[str]] = {}
    for column, name in enumerate(NAMES):
        assert joined[name].dtype == np.float32, f"{name} came back as {joined[name].dtype}"
        own, unknown = joined[name].to_numpy(), np.isnan(vectors[:, column])
        same = own.view(np.uint32) == np.ascontiguousarray(vectors[:, column]).view(np.uint32)
        same = np.where(unknown, joined[name].isna().to_numpy(), same)
        out[name] = [names[i] for i in np.flatnonzero(~same)]
    return out
