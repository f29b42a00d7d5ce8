"""What Feast returns online just before a transaction is, to the bit, what that transaction is then served with.

The processor's own stages on a real Redis fill the state and serve; Feast's SDK asks. Late payments, payments of one moment,
repetitions, frauds, declines, edge decisions and absent identifiers are among them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from features.catalogue import FEATURES, INDEX, LATE_BOUND_S, NAMES, WIDTH
from features.feast_repo.apply import apply_repo, open_store
from features.feast_repo.definitions import ENTITY_SERVICE, SCORING_SERVICE
from features.store.partitions import entity_partition
from features.store.redis_client import RespClient
from features.store.views import JOIN_KEYS
from features.transaction import Transaction, from_ms
from streams.contracts.text.json_encoding import encode
from streams.log.records import EntityItem, EntityItems, encode_items
from streams.runtime.settings import Settings
from tests.support.feature_batches import rows_in
from tests.support.oracle import LOOKS_AT_THE_PAYMENT
from tests.support.parity_world import PARTITIONS, Worker
from tests.support.stage import Stage
from tests.support.still_store import StillOnlineStore

TRANSACTIONS = 1_000
UNKNOWN = np.float32(np.nan)


class Served(Stage):
    """The little world, with more of everything, on a store that Feast can ask."""

    def __init__(self, seed: int, address: str) -> None:
        super().__init__(seed)
        store: Any = RespClient(address)
        self.redis = store
        self.worker = Worker(self.log, store)

    def transaction(self) -> Transaction:
        """Several payments an entity; some late, some of one moment, some with only what is required."""
        pick = self.random
        tx = msgspec.structs.replace(
            self._transaction(),
            card_id=f"card-{pick.randrange(40)}",
            merchant_id=f"m-{pick.randrange(25)}",
            customer_id=pick.choice([None, *(f"cu-{n}" for n in range(20))]),
            device_id=pick.choice([None, *(f"d-{n}" for n in range(30))]),
            ip=pick.choice([None, *(f"203.0.113.{n}" for n in range(20))]),
            mcc=pick.choice([None, "5411", "6011", "5812"]),
            channel=pick.choice([None, "pos", "ecom", "atm", "transfer", "moto"]),
            latitude=pick.choice([None, 48.8, 52.5]),
            longitude=pick.choice([2.3, 13.4]),
        )
        chance = pick.random()
        if self.sent and chance < 0.1:
            other = pick.choice(self.sent[-20:])
            return msgspec.structs.replace(tx, card_id=other.card_id, event_time=other.event_time)
        if chance < 0.2:
            late = timedelta(seconds=pick.choice([30, 7_200, LATE_BOUND_S + 7_200]))
            return msgspec.structs.replace(tx, event_time=tx.event_time - late)
        return tx

    def label(self) -> None:
        """A fraud, or a decline, of an earlier payment reaches its entities."""
        tx, kind = self.random.choice(self.sent), self.random.choice(["label", "declined"])
        told = ("card", "customer") if kind == "declined" else tuple(JOIN_KEYS)
        for entity in told:
            name = getattr(tx, JOIN_KEYS[entity])
            if name:
                self.count += 1
                fraud = int(kind == "label")
                item = EntityItem(entity, name, kind, self.count, tx.event_ms, 0, 0, fraud, None, None)
                value, target = (
                    encode_items(EntityItems("labels", 0, [item])),
                    entity_partition(entity, name, PARTITIONS),
                )
                self.log.produce("entities", value=value, partition=target)

    def settle(self) -> None:
        """Work until nothing is left."""
        while self.worker.behind():
            for topic in ("transactions", "entities"):
                self.worker.step(topic, 50)
        self._index()

    def serve(self, tx: Transaction) -> np.ndarray | None:
        """Send one payment through; the vector that it was served with, None where it is dropped as a repetition."""
        before = [len(self.log.topics.get(("features", p), [])) for p in range(PARTITIONS)]
        self._append(tx, self.decided(tx) if self.random.random() < 0.2 else None)
        self.settle()
        self.sent.append(tx)
        made = rows_in(
            record.value
            for partition, start in enumerate(before)
            for record in self.log.topics.get(("features", partition), [])[start:]
        )
        if not made:
            return None
        (own,) = made
        assert own.transaction.transaction_id == tx.transaction_id
        return np.frombuffer(own.vector, dtype="<f4")


@dataclass
class Answers:
    """Of each transaction, in order: it, what Feast said of it and of its entities just before, and what it was served with."""

    transactions: list[Transaction] = field(default_factory=list)
    scoring: list[np.ndarray] = field(default_factory=list)
    entities: list[np.ndarray] = field(default_factory=list)
    served: list[np.ndarray] = field(default_factory=list)
    repeated: list[np.ndarray] = field(default_factory=list)


@pytest.fixture(scope="module")
def answers(redis_alone: Settings, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    root = tmp_path_factory.mktemp("feast")
    apply_repo(
        root / "feast", redis_alone.redis_address, PARTITIONS, root / "archive", online_store=StillOnlineStore
    )
    store = open_store(root / "feast")
    scoring, entities = (store.get_feature_service(name) for name in (SCORING_SERVICE, ENTITY_SERVICE))
    stage, out = Served(11, redis_alone.redis_address), Answers()
    while len(out.served) < TRANSACTIONS:
        if stage.sent and stage.random.random() < 0.3:
            stage.label()
            stage.settle()
        again = bool(stage.sent) and stage.random.random() < 0.03
        tx = stage.random.choice(stage.sent) if again else stage.transaction()
        StillOnlineStore.moment_ms = tx.event_ms
        asked = store.get_online_features(scoring, [{"transaction_json": encode(tx).decode()}])
        row = vector(asked.to_dict(), NAMES)
        if again:
            assert stage.serve(tx) is None
            out.repeated.append(row)
            continue
        of_each = store.get_online_features(
            entities, [{key: getattr(tx, key) or "" for key in JOIN_KEYS.values()}]
        )
        out.transactions.append(tx)
        out.scoring.append(row)
        out.entities.append(vector(of_each.to_dict(), NAMES))
        served = stage.serve(tx)
        assert served is not None
        out.served.append(served)
    return out


def vector(found: dict[str, list[Any]], names: tuple[str, ...]) -> np.ndarray:
    """The first row of an answer in the catalogue's order, float32 (WIDTH,); null is NaN."""
    values = [found.get(name, [None])[0] for name in names]
    return np.array([UNKNOWN if value is None else value for value in values], dtype=np.float32)


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where both are NaN, or have the same bits."""
    return (np.isnan(a) & np.isnan(b)) | (a.view(np.uint32) == b.view(np.uint32))


def test_the_vector_of_a_transaction_is_the_one_that_it_is_served_with(answers: Answers) -> None:
    differing: Counter[str] = Counter()
    for said, served in zip(answers.scoring, answers.served, strict=True):
        differing.update(NAMES[column] for column in np.flatnonzero(~same(said, served)))
    assert len(answers.served) == TRANSACTIONS
    assert not differing


def test_of_a_transaction_that_has_happened_nothing_is_said(answers: Answers) -> None:
    assert len(answers.repeated) > 10
    for row in answers.repeated:
        assert np.isnan(row).all()


def test_what_is_said_of_entities_is_served_with_the_next_transaction(answers: Answers) -> None:
    """Every entry that does not look at the payment; what windows say without it and with it, they say of the same payments."""
    said, served = np.stack(answers.entities), np.stack(answers.served)
    amounts = np.array([tx.amount_minor for tx in answers.transactions], dtype=np.float64)
    # float32 holds sums of whole minor units up to here
    small = served[:, INDEX["card_sum_30d"]] < 2**24
    for feature in FEATURES:
        column, name = INDEX[feature.name], feature.name.removeprefix(f"{feature.entity}_")
        was, now = said[:, column], served[:, column]
        there = ~np.isnan(now)
        if feature.entity == "transaction" or name in LOOKS_AT_THE_PAYMENT:
            assert np.isnan(was).all(), feature.name
        elif feature.entity not in ("card", "customer"):
            assert same(was, now).all(), feature.name
        elif name.startswith("count_"):
            assert np.array_equal(was[there] + 1, now[there]), feature.name
        elif name.startswith("sum_"):
            assert np.array_equal((was + amounts)[there & small], now[there & small]), feature.name
        elif name.startswith("max_"):
            assert np.array_equal(np.fmax(was, amounts)[there], now[there]), feature.name
        elif not name.startswith(("mean_", "std_", "merchants_", "countries_", "devices_", "small_")):
            assert same(was, now).all(), feature.name


def test_the_world_shows_what_it_should(answers: Answers) -> None:
    """Every entity comes again and again, is absent now and then, and every entry takes many values."""
    for key in JOIN_KEYS.values():
        payments = Counter(getattr(tx, key) for tx in answers.transactions)
        assert min(payments.values()) > 5
        assert (None in payments) == (key in ("customer_id", "device_id", "ip"))
    served = np.stack(answers.served)
    assert served.shape == (TRANSACTIONS, WIDTH)
    unknown = np.isnan(served)
    assert (unknown.mean(axis=0) < 1).all() and unknown.any(axis=0).sum() > 80
    still = [name for name in NAMES if len(np.unique(served[:, INDEX[name]][~unknown[:, INDEX[name]]])) == 1]
    assert still == ["currency_code"]
    times = Counter((tx.card_id, tx.event_ms) for tx in answers.transactions)
    assert sum(count > 1 for count in times.values()) > 20


def test_one_other_bit_is_seen(answers: Answers) -> None:
    row = answers.served[0]
    for column in (INDEX["amount"], int(np.flatnonzero(np.isnan(row))[0])):
        other = row.copy()
        other[column] = 0.0 if np.isnan(row[column]) else np.nextafter(row[column], np.float32(np.inf))
        assert np.flatnonzero(~same(row, other)).tolist() == [column]


def test_moments_are_of_the_newest_payment(answers: Answers, redis_alone: Settings, tmp_path: Any) -> None:
    apply_repo(tmp_path / "feast", redis_alone.redis_address, PARTITIONS, tmp_path / "archive")
    store = open_store(tmp_path / "feast")
    card = answers.transactions[-1].card_id
    newest = max(tx.event_ms for tx in answers.transactions if tx.card_id == card)
    found = store.get_online_features(
        ["card_features:card_count_30d"], [{"card_id": card}, {"card_id": "nobody"}]
    )
    known, nobody = found.proto.results[1].event_timestamps
    assert from_ms(known.ToMilliseconds()) == from_ms(newest)
    assert nobody.ToMilliseconds() == 0
    # as of now, which is long after: by the machine's own clock
    assert found.to_dict()["card_count_30d"] == [0.0, 0.0]
