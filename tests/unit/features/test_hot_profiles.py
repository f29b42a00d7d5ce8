"""Profiles kept between batches: whatever is kept, forgotten or another's, features and state are those of a worker that keeps nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import hiredis
import numpy as np
import pytest

from features.profile.records import PAYER, SHARED_ENTITY
from features.store.keys import CARD_STATE, MERCHANT_STATE, hset
from features.store.profile_batch import StoreRefused
from features.store.profile_cache import ProfileCache
from streams.log.partitioning import entity_partition
from tests.property.test_parity import Stage
from tests.support.parity_world import MemoryLog, MemoryRedis, Worker, plain
from tests.support.whole import whole

HOME = partial(entity_partition, partitions=2)


class Told:
    """A transaction's identifiers."""

    def __init__(self, card: str, merchant: str = "m-1") -> None:
        self.card_id, self.merchant_id = card, merchant
        self.device_id = self.ip = self.customer_id = None


def read(cache: ProfileCache, redis: MemoryRedis, *cards: str) -> list[str]:
    """One batch; the names of commands that it sends."""
    cache.begin_batch()
    cache.places([Told(card) for card in cards])
    commands = cache.reads()
    cache.load(redis.call(commands))
    return [command[0].decode() for command in plain(commands)]


def test_an_entity_is_read_once_for_as_long_as_its_partition_is_held() -> None:
    redis = MemoryRedis()
    cache = ProfileCache(HOME)
    cache.begin_session([0, 1])
    assert read(cache, redis, "a", "b", "a") == ["HMGET"] * 3
    assert read(cache, redis, "b", "c") == ["HMGET"]
    assert read(cache, redis, "a", "b", "c") == []
    cache.begin_session([0, 1])
    assert read(cache, redis, "a") == ["HMGET"] * 2


def test_what_another_worker_writes_is_read_with_every_batch() -> None:
    redis = MemoryRedis()
    theirs = HOME("merchant", "m-1")
    cache = ProfileCache(HOME)
    cache.begin_session({0, 1} - {theirs})
    card = next(name for name in "abcdefgh" if HOME("card", name) != theirs)
    assert read(cache, redis, card) == ["HMGET"] * 2
    arena, places = cache.profiles_of(MERCHANT_STATE, cache.slots("merchant", ["m-1"]))
    assert arena["offset"][places].tolist() == [-1]
    profile = np.zeros(2, SHARED_ENTITY)
    profile["offset"] = 77
    from features.profile.codec import encode_profiles

    redis.call([hset(MERCHANT_STATE, "m-1", 1, encode_profiles(profile, np.array([0]))[0], 1)])
    # only the merchant's; the card and its frauds are this worker's own
    assert read(cache, redis, card) == ["HMGET"]
    assert arena["offset"][places].tolist() == [77]
    # gone from the store (it was silent for long): nothing of the old one stays
    redis.hashes.clear()
    read(cache, redis, card)
    assert arena["offset"][places].tolist() == [-1] and arena["first_ms"][places].tolist() == [0]


def test_memory_is_bounded_and_one_batch_may_be_larger() -> None:
    redis = MemoryRedis()
    cache = ProfileCache(HOME, budget_bytes=10 * PAYER.itemsize)
    cache.begin_session([0, 1])
    many = [f"card-{i}" for i in range(9_000)]
    read(cache, redis, *many)
    slots = cache.slots("card", many)
    assert cache.names("card", slots.tolist()) == many
    assert cache.profiles_of(CARD_STATE, slots)[0]["offset"][slots].max() == -1
    # the next batch begins with nothing of it
    assert read(cache, redis, "card-5") == ["HMGET"]
    assert len(cache.profiles().cards) < 9_000


def test_a_refused_read_is_an_error() -> None:
    cache = ProfileCache(HOME)
    cache.begin_batch()
    cache.places([Told("a")])
    cache.reads()
    with pytest.raises(StoreRefused, match="WRONGTYPE"):
        cache.load([hiredis.ReplyError("WRONGTYPE"), None])


@pytest.mark.parametrize("seed", range(6))
def test_what_is_served_and_stored_does_not_depend_on_what_is_kept(seed: int) -> None:
    stage = Stage(seed)
    stage.run(150)
    kept: list[Any] = []
    for budget in (1 << 21, 0):
        redis = MemoryRedis()
        log = MemoryLog()
        log.topics = {
            place: list(records) for place, records in stage.log.topics.items() if place[0] == "transactions"
        }
        worker = Worker(log, redis, budget)
        while worker.behind():
            worker.step("transactions", 7)
            worker.step("entities", 3)
        kept.append((whole(redis.hashes), [record.value for record in log.records("features")]))
    assert kept[0] == kept[1]
    assert kept[0][1]
