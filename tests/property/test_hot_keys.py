"""A merchant that everybody pays at is one read and one write a chunk, however many pay there, and nobody else is touched for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from features.kernels.shared_entity import DAY_MS
from features.store.keys import MERCHANT_STATE, entity_key
from features.store.redis_client import Command
from features.transaction import Transaction, from_ms
from streams.contracts.json_encoding import encode
from streams.log.partitioning import partitions_of
from tests.support.parity_world import APPENDED_MS, PARTITIONS, MemoryLog, MemoryRedis, Worker, plain
from tests.support.whole import profile_of

HOT = {"merchant_id": "m-hot", "device_id": "d-hot", "ip": "203.0.113.1"}
ENTITY_OF = {"merchant_id": "merchant", "device_id": "device", "ip": "ip"}
START = from_ms(APPENDED_MS - 2 * DAY_MS)
#: more than any chunk of these tests holds
ALL = 10_000


class WatchedRedis(MemoryRedis):
    """Counts commands by name and key, and the bytes that are written of each key."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: Counter[tuple[str, Any]] = Counter()
        self.written: Counter[Any] = Counter()

    def call(self, commands: Sequence[Command]) -> list[Any]:
        for command in plain(commands):
            name = command[0].decode() if isinstance(command[0], bytes) else command[0]
            key: Any = command[1] if len(command) > 1 else None
            self.commands[name, key] += 1
            if name == "HSET":
                self.written[key] += sum(len(v) for v in command[2:] if isinstance(v, bytes))
        return super().call(commands)


def payment(name: str, at: int, **entities: str) -> Transaction:
    return Transaction(
        transaction_id=f"t-{name}", event_time=START + timedelta(seconds=at), card_id=f"card-{name}", amount_minor=100 + at,
        currency="EUR", customer_id=f"cu-{name}", **{field: entities.get(field, f"{field}-{name}") for field in HOT},
    )  # fmt: skip


def one_chunk(payments: Sequence[Transaction]) -> WatchedRedis:
    """What a chunk of each topic asks of an empty store."""
    log, redis = MemoryLog(), WatchedRedis()
    homes = partitions_of([tx.card_id for tx in payments], PARTITIONS).tolist()
    for tx, home in zip(payments, homes, strict=True):
        log.produce("transactions", tx.card_id, encode(tx), home)
    # room for a whole crowd
    worker = Worker(log, redis, 1 << 24)
    redis.commands.clear()
    worker.step("transactions", ALL)
    worker.step("entities", ALL)
    assert not worker.behind()
    return redis


def keys_of(payments: Sequence[Transaction], fields: Sequence[str]) -> set[bytes]:
    return {entity_key(ENTITY_OF[field], getattr(tx, field)) for tx in payments for field in fields}


def profiles_touched(redis: WatchedRedis) -> dict[tuple[str, Any], int]:
    """Reads and writes of entities: their keys are bytes, those of positions and leases are texts."""
    return {at: times for at, times in redis.commands.items() if isinstance(at[1], bytes)}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(2, 40), st.randoms(use_true_random=False))
def test_one_write_of_a_hot_merchant_and_the_others_as_without_it(hot: int, others: int, order: Any) -> None:
    rest = [payment(f"o{i}", i) for i in range(others)]
    crowd = [payment(f"h{i}", i, merchant_id=HOT["merchant_id"]) for i in range(hot)]
    mixed = [*rest, *crowd]
    order.shuffle(mixed)
    alone, together = one_chunk(rest), one_chunk(mixed)
    merchant = entity_key("merchant", HOT["merchant_id"])
    assert together.commands["HSET", merchant] == together.commands["HMGET", merchant] == 1
    assert profile_of(MERCHANT_STATE, together.hashes[merchant])["hour_count"].sum() == hot
    # every other command, and how often, is what it was; the crowd's own cards, customers, devices and addresses come on top
    before, after = profiles_touched(alone), profiles_touched(together)
    assert before and {command: after[command] for command in before} == before
    own = {merchant} | keys_of(crowd, ["device_id", "ip"])
    own |= {entity_key(e, getattr(tx, f"{e}_id")) for tx in crowd for e in ("card", "customer")}
    assert {key for name, key in set(after) - set(before) if name == "HSET"} == own


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 400))
def test_all_payments_at_one_merchant_device_and_address_are_three_writes(count: int) -> None:
    crowd = [payment(f"h{i}", i, **HOT) for i in range(count)]
    redis = one_chunk(crowd)
    hot = keys_of(crowd, list(HOT))
    assert len(hot) == 3
    for key in hot:
        assert redis.commands["HSET", key] == redis.commands["HMGET", key] == 1
        # a profile, three numbers and their fields
        assert redis.written[key] < 2_048 + 200
