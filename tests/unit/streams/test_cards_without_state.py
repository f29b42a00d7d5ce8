"""While there is no state the card stage goes on with what transactions say themselves, says so, and touches nothing."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from faust.types import TP

from features.catalogue import CATALOGUE_HASH, FEATURES
from features.kernels.columns import columns_of
from features.kernels.payer import transaction_features
from features.store.keys import GROUP
from features.store.partition_lease import REBUILDING_KEY, Leases
from features.store.partitions import entity_partition, partitions_of
from features.store.profiles.cache import ProfileCache
from features.store.views import CARD_STATE
from features.transaction import Transaction
from streams.contracts.text.json_encoding import encode
from streams.log.offsets.log_marks import LogMarks
from streams.log.records import (
    MISSING_CARD,
    MISSING_CUSTOMER,
    MISSING_DEVICE,
    MISSING_IP,
    MISSING_MERCHANT,
    PAID_ENTITIES,
    decode_items,
)
from streams.log.seal import NO_KEYS
from streams.processor.cards import CardStage, StateIsBack
from streams.processor.commit import SynchronousCommitter
from streams.processor.payment_updates import unpack_paid
from streams.runtime.chunk.chunk import Chunk
from streams.runtime.settings import Settings
from tests.support.feature_batches import rows_in
from tests.support.parity_world import (
    APPENDED_MS,
    PARTITIONS,
    MemoryLog,
    MemoryRedis,
    Record,
    Worker,
)
from tests.support.whole import stored


def payment(name: str, **named: str) -> Transaction:
    return Transaction(
        transaction_id=name,
        event_time=datetime(2026, 9, 1, 3, 15, tzinfo=UTC),
        card_id="card-1",
        merchant_id="m-1",
        amount_minor=12_000,
        currency="EUR",
        channel="ecom",
        mcc="5411",
        **named,
    )


EVERYBODY = payment("t1", device_id="d-1", ip="203.0.113.7", customer_id="cu-1")
FEWEST = payment("t2")
HOME = int(partitions_of(["card-1"], PARTITIONS)[0])


def chunk_of(*transactions: Transaction, first: int = 0) -> Chunk:
    records = [
        Record("transactions", HOME, first + i, APPENDED_MS, tx.card_id, encode(tx), [])
        for i, tx in enumerate(transactions)
    ]
    return Chunk("transactions", records, {TP("transactions", HOME): first + len(records)})


def stage_without_state(redis: MemoryRedis, log: MemoryLog) -> CardStage:
    client: Any = redis
    producer: Any = log
    leases = Leases(client, GROUP)
    cache = ProfileCache(PARTITIONS)
    settings = Settings(home="/nowhere", partitions=PARTITIONS)
    stage = CardStage(
        settings,
        client,
        producer,
        leases,
        cache,
        SynchronousCommitter(producer, leases),
        NO_KEYS,
        LogMarks("", client, GROUP),
    )
    stage.rebuilding = True
    return stage


@pytest.fixture
def world() -> tuple[MemoryRedis, MemoryLog]:
    """A store with state of the very entities, and a log; the state is marked as being made again."""
    redis, log = MemoryRedis(), MemoryLog()
    worker = Worker(log, redis)
    log.produce("transactions", "card-1", encode(EVERYBODY), HOME)
    worker.step("transactions", 10)
    worker.step("entities", 10)
    assert stored(redis, CARD_STATE, "card-1")
    redis.values[REBUILDING_KEY] = b'{"why": "a test", "since": "now"}'
    log.topics.clear()
    return redis, log


def test_vectors_hold_what_transactions_say_and_name_all_else_as_missing(
    world: tuple[MemoryRedis, MemoryLog],
) -> None:
    redis, log = world
    stage_without_state(redis, log).handle(chunk_of(EVERYBODY, FEWEST, first=1))
    records = rows_in(r.value for r in log.records("features"))
    assert [r.transaction for r in records] == [EVERYBODY, FEWEST]
    every = MISSING_CARD | MISSING_MERCHANT | MISSING_DEVICE | MISSING_IP | MISSING_CUSTOMER
    # who is not named is not missing
    assert [r.missing for r in records] == [every, MISSING_CARD | MISSING_MERCHANT]
    assert all(r.as_of[1:] == (-1, -1, -1, -1) and r.frauds_as_of == -1 for r in records)
    assert {(r.catalogue, r.partition, r.late_ms) for r in records} == {(CATALOGUE_HASH, HOME, 0)}
    rows = np.stack([np.frombuffer(r.vector, "<f4") for r in records])
    wanted = np.full_like(rows, np.nan)
    both = [EVERYBODY, FEWEST]
    transaction_features(
        columns_of(both, [tx.event_ms for tx in both], [1, 2]), np.zeros(2, np.uint8), wanted
    )
    np.testing.assert_array_equal(rows, wanted)
    own = np.array([feature.entity == "transaction" for feature in FEATURES])
    assert not np.isnan(rows[:, own]).any() and np.isnan(rows[:, ~own]).all()


def test_what_they_mean_for_others_is_sent_on_so_that_the_rebuilt_state_has_it(
    world: tuple[MemoryRedis, MemoryLog],
) -> None:
    redis, log = world
    stage_without_state(redis, log).handle(chunk_of(EVERYBODY, FEWEST, first=1))
    named = set()
    for record in log.records("entities"):
        paid = decode_items(record.value).paid
        assert paid is not None
        found = unpack_paid(paid)
        for kind, name, offset in zip(found.kinds, found.ids, found.payments["offset"], strict=True):
            assert entity_partition(PAID_ENTITIES[kind], name, PARTITIONS) == record.partition
            named.add((PAID_ENTITIES[kind], name, int(offset)))
    assert named == {
        ("merchant", "m-1", 1), ("device", "d-1", 1), ("ip", "203.0.113.7", 1), ("customer", "cu-1", 1), ("merchant", "m-1", 2),
    }  # fmt: skip


def test_state_and_positions_are_not_touched(world: tuple[MemoryRedis, MemoryLog]) -> None:
    redis, log = world
    before = copy.deepcopy((redis.values, redis.hashes, redis.sets, redis.scores))
    stage_without_state(redis, log).handle(chunk_of(EVERYBODY, FEWEST, first=1))
    assert (redis.values, redis.hashes, redis.sets, redis.scores) == before


def test_once_the_state_is_there_again_the_session_ends_with_nothing_sent(
    world: tuple[MemoryRedis, MemoryLog],
) -> None:
    redis, log = world
    del redis.values[REBUILDING_KEY]
    with pytest.raises(StateIsBack):
        stage_without_state(redis, log).handle(chunk_of(EVERYBODY, first=1))
    assert log.topics == {}
