"""What a chunk costs is a function of the chunk, never of history: commands and bytes are counted, time is not looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from features.kernels.columns import PAYMENT
from features.kernels.payer import apply_payments
from features.kernels.shared_entity import DECLINED, LABEL, apply_frauds
from features.profile.codec import MAX_BYTES, MAX_BYTES_OF_A_PAYER, WHOLE_WORDS, encode_profiles
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from features.store.keys import key
from features.store.partitions import partitions_of
from features.store.redis_client import Command, pack
from features.store.views import PAYMENTS_OF
from tests.support.long_history import DAY_MS, IDENTIFIERS, NOW_MS, payments_of, profiles_after
from tests.support.parity_world import APPENDED_MS, PARTITIONS, MemoryLog, MemoryRedis, Worker, plain
from tests.support.whole import stored

#: everything else of a command or a reply: key, protocol
MAX_AROUND = 100
CARDS = ("card-a", "card-b")


class CountingRedis(MemoryRedis):
    """Counts rounds, commands by name, profiles read and written, bytes sent and bytes of values received."""

    def __init__(self) -> None:
        super().__init__()
        self.forget()

    def forget(self) -> None:
        self.rounds = 0
        self.commands: Counter[str] = Counter()
        self.read = self.written = 0
        self.sent = self.received = 0

    def call(self, commands: Sequence[Command]) -> list[Any]:
        self.rounds += 1
        self.sent += len(pack(commands))
        for command in plain(commands):
            name = command[0]
            self.commands[name.decode() if isinstance(name, bytes) else str(name)] += 1
            # of profiles: such commands are packed
            self.read += len(command) - 1 if name == b"MGET" else 0
            self.written += len(command) // 2 if name == b"MSET" else 0
        replies = super().call(commands)
        self.received += sum(
            len(value or b"") for reply in replies if isinstance(reply, list) for value in reply
        )
        return replies


def _store_with_history(count: int) -> CountingRedis:
    """Profiles of all five entities after ``count`` payments each."""
    payer, shared = profiles_after(payments_of(count))
    redis = CountingRedis()
    for entity, name in (*(("card", card) for card in CARDS), *IDENTIFIERS.items()):
        arena = payer if entity in ("card", "customer") else shared
        profile = encode_profiles(arena, np.zeros(1, dtype=np.int64), 0)[0]
        redis.call([("SET", key(PAYMENTS_OF[entity], name, PARTITIONS), profile)])
    return redis


def _log(transactions: int) -> MemoryLog:
    """Payments of the two cards in turn, at the same merchant, from the same device, for the same customer."""
    log = MemoryLog()
    homes = dict(zip(CARDS, partitions_of(CARDS, PARTITIONS).tolist(), strict=True))
    for k in range(transactions):
        card = CARDS[k % len(CARDS)]
        at = datetime.fromtimestamp(NOW_MS / 1000, UTC) + timedelta(seconds=k)
        value = (
            f'{{"transaction_id":"tx-{k}","event_time":"{at.isoformat()}","card_id":"{card}",'
            f'"merchant_id":"{IDENTIFIERS["merchant"]}","amount_minor":{1000 + k},"currency":"EUR",'
            f'"device_id":"{IDENTIFIERS["device"]}","ip":"{IDENTIFIERS["ip"]}","customer_id":"{IDENTIFIERS["customer"]}"}}'
        )
        log.produce("transactions", card, value.encode(), homes[card])
    return log


def _cost(topic: str, history: int, transactions: int) -> CountingRedis:
    """What one chunk of a topic, with everything that there is on it, asks of a store with a history."""
    redis, log = _store_with_history(history), _log(transactions)
    worker = Worker(log, redis)
    if topic == "entities":
        worker.step("transactions", transactions)
        # another one, which has nothing of it in memory
        worker = Worker(log, redis)
    redis.forget()
    worker.step(topic, 10 * transactions)
    assert not worker.behind() or topic == "transactions"
    return redis


@pytest.mark.parametrize(("topic", "profiles"), [("transactions", 9), ("entities", 5)])
def test_a_long_history_costs_the_same_commands_and_no_more_than_full_profiles(
    topic: str, profiles: int
) -> None:
    """``profiles``: that are read. Of a card and a customer two."""
    short, long = (_cost(topic, history, 40) for history in (10, 100_000))
    assert long.commands == short.commands
    # one to read, one to see that the partitions are still this worker's, one to write
    assert long.rounds == short.rounds == 3
    assert long.read == short.read == profiles
    assert long.written == short.written == (len(CARDS) if topic == "transactions" else len(IDENTIFIERS))
    for redis in (short, long):
        assert redis.received <= profiles * (MAX_BYTES + MAX_AROUND)
        around = (redis.read + redis.written + redis.commands.total()) * MAX_AROUND
        assert redis.sent <= redis.written * MAX_BYTES + around
    # the long one's profiles are full: a history of 100,000 is little different from one of 500
    full = _cost(topic, 500, 40)
    assert long.sent < 1.6 * full.sent
    assert long.received < 1.6 * full.received


@pytest.mark.parametrize("topic", ["transactions", "entities"])
def test_commands_follow_the_entities_of_a_chunk_not_its_payments(topic: str) -> None:
    few, many = _cost(topic, 10, 4), _cost(topic, 10, 400)
    assert few.commands == many.commands


def test_what_a_worker_has_it_does_not_read_again() -> None:
    redis, log = _store_with_history(10), _log(40)
    worker = Worker(log, redis)
    worker.step("transactions", 10)
    worker.step("entities", 10)
    redis.forget()
    worker.step("transactions", 10)
    worker.step("entities", 10)
    assert redis.read == 0
    assert redis.written == len(CARDS) + len(IDENTIFIERS)
    # how far each source is applied, per partition
    assert redis.commands["HSET"] == PARTITIONS
    # there is nothing to read, but epochs and positions are looked at before every write all the same
    assert redis.commands["MGET"] == redis.commands["EXEC"] == 2


def test_no_stored_profile_exceeds_two_kilobytes() -> None:
    """A profile whose every byte is used is the longest that there can be."""
    for dtype in (PAYER, SHARED_ENTITY, FRAUDS):
        arena = np.frombuffer(bytearray(b"\xff" * 2 * dtype.itemsize), dtype=dtype)
        stored = encode_profiles(arena, np.arange(2), 2**16 - 1)
        assert all(len(each) <= MAX_BYTES and each[1] & WHOLE_WORDS for each in stored)


def _worst_payer() -> tuple[int, int]:
    """Stored bytes of the two profiles of a payer whose history fills every word: payments, and frauds with declines."""
    chance, n = np.random.default_rng(1), 20_000
    payments = np.zeros(n, dtype=PAYMENT)
    payments["event_ms"] = np.sort(APPENDED_MS - chance.integers(0, 28 * DAY_MS, n))
    payments["offset"] = (1 << 56) + np.arange(n)
    payments["amount"] = chance.integers(1 << 39, 1 << 40, n)
    for name in ("id_hash", "merchant_hash", "device_hash"):
        payments[name] = chance.integers(1 << 24, 1 << 32, n)
    payments["country"] = chance.integers(256, 1 << 16, n)
    payments["latitude"], payments["longitude"] = chance.uniform(-90, 90, n), chance.uniform(-180, 180, n)
    payments["channel"], payments["mcc"] = chance.integers(0, 5, n), chance.integers(1000, 9999, n)
    state = new_arena(PAYER, 1)
    apply_payments(payments, np.zeros(n, np.int64), state)
    frauds = new_arena(FRAUDS, 1)
    for kind, tiles, tile_ms in ((LABEL, 40, DAY_MS), (DECLINED, 14, 300_000)):
        moments = np.repeat(APPENDED_MS - np.arange(tiles)[::-1] * tile_ms, 300)
        m = len(moments)
        apply_frauds(
            np.zeros(m, np.int64), (1 << 56) + np.arange(m), np.full(m, kind), moments, np.ones(m, np.int64), frauds
        )  # fmt: skip
    first = np.zeros(1, np.int64)
    return len(encode_profiles(state, first, 0)[0]), len(encode_profiles(frauds, first, 0)[0])


def test_a_payer_at_its_worst_takes_two_kilobytes_and_its_frauds_beside_them() -> None:
    """Reached by the kernels, not only by the codec: each profile is within 2 KB, a payer's two together are not."""
    state, frauds = _worst_payer()
    assert state <= MAX_BYTES and frauds <= MAX_BYTES_OF_A_PAYER - MAX_BYTES
    assert MAX_BYTES < state + frauds <= MAX_BYTES_OF_A_PAYER
    every_byte = np.frombuffer(bytearray(b"\xff" * 2 * FRAUDS.itemsize), dtype=FRAUDS)
    assert len(encode_profiles(every_byte, np.zeros(1, np.int64), 0)[0]) == MAX_BYTES_OF_A_PAYER - MAX_BYTES


def test_what_a_long_history_leaves_in_the_store_stays_within_two_kilobytes() -> None:
    """After every chunk."""
    redis, log = _store_with_history(100_000), _log(40)
    worker = Worker(log, redis)
    named = [("card", card) for card in CARDS] + list(IDENTIFIERS.items())
    while worker.behind():
        worker.step("transactions", 2)
        worker.step("entities", 2)
        for entity, name in named:
            assert 1_000 < len(stored(redis, PAYMENTS_OF[entity], name) or b"") <= MAX_BYTES
