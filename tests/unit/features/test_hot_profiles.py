"""Profiles kept between batches: whatever is kept, forgotten or another's, features and state are those of a worker that keeps nothing."""

from __future__ import annotations

from typing import Any

import hiredis
import numpy as np
import pytest

from features.profile.codec import encode_profiles, written_day
from features.profile.records import PAYER, SHARED_ENTITY
from features.store.keys import key
from features.store.partitions import entity_partition, ids_together
from features.store.profiles.batch import MAX_KEYS, StoreRefused
from features.store.profiles.cache import EntityIds, ProfileCache
from features.store.views import CARD_FRAUDS, CARD_STATE, MERCHANT_STATE
from tests.support.parity_world import MemoryLog, MemoryRedis, Worker, plain
from tests.support.stage import Stage
from tests.support.whole import whole

PARTITIONS = 2


def whose(*cards: str) -> EntityIds:
    """The ids of transactions that these cards make at one merchant."""
    nobody = [None] * len(cards)
    return EntityIds(*ids_together(cards, nobody, ["m-1"] * len(cards), nobody, nobody))


def read(cache: ProfileCache, redis: MemoryRedis, *cards: str) -> list[bytes]:
    """One batch; the keys that it reads."""
    cache.begin_batch()
    cache.places(whose(*cards))
    commands = cache.reads()
    cache.load(redis.call(commands))
    assert {command[0] for command in plain(commands)} <= {b"MGET"}
    return [name for command in plain(commands) for name in command[1:]]


MERCHANT = key(MERCHANT_STATE, "m-1", PARTITIONS)


def of_cards(*cards: str) -> list[bytes]:
    """What is read of cards: their payments, then their frauds and declines."""
    return [key(view, card, PARTITIONS) for view in (CARD_STATE, CARD_FRAUDS) for card in cards]


def test_an_entity_is_read_once_for_as_long_as_its_partition_is_held() -> None:
    redis = MemoryRedis()
    cache = ProfileCache(PARTITIONS)
    cache.begin_session([0, 1])
    assert read(cache, redis, "a", "b", "a") == [*of_cards("a", "b"), MERCHANT]
    assert read(cache, redis, "b", "c") == of_cards("c")
    assert read(cache, redis, "a", "b", "c") == []
    cache.begin_session([0, 1])
    assert read(cache, redis, "a") == [*of_cards("a"), MERCHANT]


def test_what_another_worker_writes_is_read_with_every_batch() -> None:
    redis = MemoryRedis()
    theirs = entity_partition("merchant", "m-1", PARTITIONS)
    cache = ProfileCache(PARTITIONS)
    cache.begin_session({0, 1} - {theirs})
    card = next(name for name in "abcdefgh" if entity_partition("card", name, PARTITIONS) != theirs)
    assert read(cache, redis, card) == [*of_cards(card), MERCHANT]
    arena, places = cache.profiles_of(MERCHANT_STATE, cache.slots("merchant", ["m-1"]))
    assert arena["offset"][places].tolist() == [-1]
    profile = np.zeros(2, SHARED_ENTITY)
    profile["offset"] = 77
    redis.call([("SET", MERCHANT, encode_profiles(profile, np.array([0]), 0)[0])])
    # only the merchant's; the card and its frauds are this worker's own
    assert read(cache, redis, card) == [MERCHANT]
    assert arena["offset"][places].tolist() == [77]
    # gone from the store (it was silent for long): nothing of the old one stays
    redis.values.clear()
    read(cache, redis, card)
    assert arena["offset"][places].tolist() == [-1] and arena["first_ms"][places].tolist() == [0]


def test_memory_is_bounded_and_one_batch_may_be_larger() -> None:
    redis = MemoryRedis()
    cache = ProfileCache(PARTITIONS, budget_bytes=10 * PAYER.itemsize)
    cache.begin_session([0, 1])
    many = [f"card-{i}" for i in range(9_000)]
    read(cache, redis, *many)
    slots = cache.slots("card", many)
    assert cache.names("card", slots.tolist()) == many
    assert cache.profiles_of(CARD_STATE, slots)[0]["offset"][slots].max() == -1
    # the next batch begins with nothing of it
    assert read(cache, redis, "card-5") == of_cards("card-5")
    assert len(cache.profiles().cards) < 9_000


def test_what_is_written_is_what_another_worker_reads() -> None:
    redis, now_s = MemoryRedis(), 20_000 * 86_400 + 5.0
    cache = ProfileCache(PARTITIONS, clock=lambda: now_s)
    cache.begin_session([0, 1])
    names = [f"c-{i}" for i in range(MAX_KEYS + 3)]
    read(cache, redis, *names)
    slots = cache.slots("card", names)
    for view in (CARD_STATE, CARD_FRAUDS):
        arena, places = cache.profiles_of(view, slots)
        arena["offset"][places] = 1_000 + slots
        redis.call([cache.write(view, slots[1:])])
    assert {written_day(value) for value in redis.values.values()} == {20_000}
    again = ProfileCache(PARTITIONS)
    again.begin_session([0, 1])
    read(again, redis, *names)
    for view in (CARD_STATE, CARD_FRAUDS):
        arena, places = again.profiles_of(view, again.slots("card", names))
        # the first was not written
        assert arena["offset"][places].tolist() == [-1, *(1_000 + slots[1:]).tolist()]


def test_a_refused_read_is_an_error() -> None:
    cache = ProfileCache(PARTITIONS)
    cache.begin_batch()
    cache.places(whose("a"))
    cache.reads()
    with pytest.raises(StoreRefused, match="WRONGTYPE"):
        cache.load([hiredis.ReplyError("WRONGTYPE"), [None], [None]])


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
        kept.append((whole(redis.values), [record.value for record in log.records("features")]))
    assert kept[0] == kept[1]
    assert kept[0][1]
