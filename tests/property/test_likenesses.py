"""A payment like an old one of its card in time and amount is that one again, or another: told by the index, never left undecided."""

from __future__ import annotations

import math
import time
from datetime import timedelta

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import INDEX
from features.replay import replay
from features.store.partitions import partitions_of
from features.store.profiles.batch import Gather
from features.store.state_versions import ASK_WHOLE
from features.transaction import Transaction, from_ms
from services.scoring.arms.arms_decider import ArmsDecider
from services.scoring.decision.decider import Decider
from services.scoring.edge.decide_round import Round, decide_round
from services.scoring.edge.entries import entries_of
from services.scoring.model.serving import NOTHING
from streams.audit.parity.card_watch import ParityWatch
from streams.contracts.text.json_encoding import encode
from streams.log.decision_index import IndexedDecision, IndexWriter, Row
from streams.log.feature_batch import FeatureRecord
from streams.log.records import HEADER_DECIDED
from streams.runtime.metrics import DECIDED_SUSPECTED_DUPLICATES, PARITY_COMPARED
from tests.support.catalogue_samples import UNKNOWN
from tests.support.edge_keys import KEYS
from tests.support.feature_batches import batches_in
from tests.support.metric_values import counted
from tests.support.parity_world import APPENDED_MS, PARTITIONS
from tests.support.stage import Stage
from tests.support.whole import whole

CARD = "card-1"
#: 31 days hold 93 payments of these: all of them are kept, none in a group
PAYMENTS, EVERY = 144, timedelta(hours=8)
#: how many payments ago: well past those that are kept with their ids
old_places = st.integers(41, 85)


def payment(i: int, wobble_ms: int = 0) -> Transaction:
    moment = from_ms(APPENDED_MS) - (PAYMENTS - i) * EVERY + timedelta(milliseconds=wobble_ms * (i % 7))
    return Transaction(
        transaction_id=f"t{i}", event_time=moment, card_id=CARD, merchant_id=f"m-{i % 3}", amount_minor=100 + i,
        currency="EUR", customer_id="cu-1", device_id="d-1", country="FR",
    )  # fmt: skip


def like(tx: Transaction, transaction_id: str = "other") -> Transaction:
    return msgspec.structs.replace(tx, transaction_id=transaction_id, merchant_id="m-elsewhere")


class Till(Stage):
    """A card that has paid often; what comes then, and what becomes of it."""

    def __init__(self, wobble_ms: int = 0, at_once: int = 50) -> None:
        super().__init__(1)
        self.paid = [payment(i, wobble_ms) for i in range(PAYMENTS)]
        self.take(*self.paid, at_once=at_once)
        # the first ones are indexed, as all were that were decided
        rows = [Row(i, tx.transaction_id, IndexedDecision(b"{}", None)) for i, tx in enumerate(self.paid)]
        self.redis.call(IndexWriter().writes(0, rows, time.time()))

    def take(self, *transactions: Transaction, decided: bytes | None = None, at_once: int = 50) -> None:
        """The worker handles them in chunks of so many, to the log's end."""
        home = int(partitions_of([CARD], PARTITIONS)[0])
        for tx in transactions:
            headers = [(HEADER_DECIDED, decided)] if decided else []
            self.log.produce("transactions", tx.card_id, encode(tx), home, headers)
        while self.worker.behind():
            self.worker.step("transactions", at_once)
            self.worker.step("entities", 1000)

    def of(self, transaction_id: str) -> list[FeatureRecord]:
        """All features records of a transaction, repetitions too."""
        records = self.made()
        return [record for record in records if record.transaction.transaction_id == transaction_id]

    def profiles(self) -> dict[str, bytes]:
        """All that is stored of entities."""
        return whole(self.redis.values)

    def is_in_parity(self) -> None:
        samples = self.samples()
        verdict = self.judged(samples)
        assert (verdict.identical, verdict.differing) == (len(samples), [])
        before = counted(PARITY_COMPARED)
        batches = batches_in(record.value for record in self.log.records("features"))
        assert ParityWatch(UNKNOWN, one_in=1, settle_ms=0).add(batches) == 0
        assert counted(PARITY_COMPARED) - before == len(samples)


def value(record: FeatureRecord, name: str) -> float:
    return float(np.frombuffer(record.vector, "<f4")[INDEX[name]])


@settings(max_examples=15, deadline=None)
@given(old_places, st.integers(1, 60), st.sampled_from([0, 37, 1_000]))
def test_another_payment_like_an_old_one_is_decided_once(ago: int, at_once: int, wobble_ms: int) -> None:
    till = Till(wobble_ms, at_once)
    before, stored = counted(DECIDED_SUSPECTED_DUPLICATES), till.profiles()
    till.take(like(till.paid[-ago]))
    (record,) = till.of("other")
    # that it is unlike is seen by nobody but the index: the old one is before it, in its own windows
    assert value(record, "card_count_1m") == 2
    assert value(record, "card_sum_1m") == 2 * record.transaction.amount_minor
    assert value(record, "card_seconds_since_last") == 0
    assert value(record, "amount") == record.transaction.amount_minor
    assert not math.isnan(value(record, "customer_count_24h"))
    assert (record.missing, record.decided) == (0, None)
    assert till.profiles() == stored
    assert counted(DECIDED_SUSPECTED_DUPLICATES) - before == 1
    till.is_in_parity()


@settings(max_examples=8, deadline=None)
@given(old_places)
def test_a_repetition_of_an_old_payment_is_dropped(ago: int) -> None:
    till = Till()
    before, stored, known = counted(DECIDED_SUSPECTED_DUPLICATES), till.profiles(), len(till.made())
    till.take(till.paid[-ago])
    assert len(till.made()) == known
    assert till.profiles() == stored
    assert counted(DECIDED_SUSPECTED_DUPLICATES) == before
    till.is_in_parity()


def test_of_two_with_the_same_id_the_first_is_decided() -> None:
    till = Till()
    tx = like(till.paid[-60])
    till.take(tx, tx)
    # and what comes in a later chunk, before anything is in the index
    till.take(tx)
    assert len(till.of("other")) == 1
    till.is_in_parity()


def test_what_the_edge_has_decided_is_carried_through() -> None:
    till = Till()
    tx = like(till.paid[-60])
    stored = till.profiles()
    till.take(tx, decided=till.decided(tx))
    (record,) = till.of("other")
    assert record.decided and value(record, "card_count_1m") == 2
    assert till.profiles() == stored
    till.is_in_parity()


def test_the_edge_decides_it_and_waits_for_nobody() -> None:
    till = Till()
    for tx, waits in ((like(till.paid[-60]), False), (till.paid[-60], False), (till.paid[-5], True)):
        entries, gather = entries_of([tx], [tx.event_ms], 0.0, 100), Gather([tx])
        # whoever comes this far is in no index
        work = Round(entries, [0], gather, till.redis.call([ASK_WHOLE, *gather.commands(PARTITIONS)]), True)
        done = decide_round(work, ArmsDecider(Decider(clock=lambda: 0.0)), NOTHING, KEYS.newest())
        assert (len(done.entries), len(done.seen)) == ((0, 1) if waits else (1, 0))


def test_history_computes_it_where_its_id_is_new() -> None:
    paid = [payment(i) for i in range(PAYMENTS)]
    transactions = [*paid, like(paid[-60]), paid[-60], like(paid[-60])]
    names = ("transaction_id", "event_time", "card_id", "merchant_id", "amount_minor", "currency", "country")
    table = pa.table({name: [getattr(tx, name) for tx in transactions] for name in names})
    rows = replay(table, batch=50)
    assert rows[PAYMENTS, INDEX["card_count_1m"]] == 2
    assert np.isnan(rows[PAYMENTS + 1 :]).all()
    till = Till()
    till.take(like(till.paid[-60]))
    served = np.frombuffer(till.of("other")[0].vector, "<f4")
    columns = [
        i
        for name, i in INDEX.items()
        if name.startswith("card_") and "device" not in name and "declined" not in name
    ]
    assert rows[PAYMENTS, columns].tobytes() == served[columns].tobytes()
