"""A merchant that everybody pays at is one read and one write a chunk, however many pay there, and nobody else is touched for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from features.kernels.shared_entity import DAY_MS
from features.profile.codec import MAX_BYTES
from features.store.keys import key
from features.store.partitions import partitions_of
from features.store.redis_client import Command
from features.store.views import MERCHANT_STATE, PAYMENTS_OF
from features.transaction import Transaction, from_ms
from streams.contracts.text.json_encoding import encode
from tests.support.parity_world import APPENDED_MS, PARTITIONS, MemoryLog, MemoryRedis, Worker, plain
from tests.support.whole import profile_of

HOT = {"merchant_id": "m-hot", "device_id": "d-hot", "ip": "203.0.113.1"}
ENTITY_OF = {"merchant_id": "merchant", "device_id": "device", "ip": "ip"}
START = from_ms(APPENDED_MS - 2 * DAY_MS)
#: more than any chunk of these tests holds
ALL = 10_000


class WatchedRedis(MemoryRedis):
    """Counts reads and writes of profiles by command and key, and the bytes that are written of each key."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: Counter[tuple[str, bytes]] = Counter()
        self.written: Counter[bytes] = Counter()

    def call(self, commands: Sequence[Command]) -> list[Any]:
        for command in plain(commands):
            name = command[0]
            # profiles: their commands are packed, those of positions and leases are texts
            if name in (b"MGET", b"MSET"):
                keys = command[1::2] if name == b"MSET" else command[1:]
                self.touched.update((name.decode(), each) for each in keys)
            if name == b"MSET":
                self.written.update(dict(zip(keys, map(len, command[2::2]), strict=True)))
        return super().call(commands)


def address(name: str) -> str:
    """An IPv4 address of its own for each name."""
    return str(IPv4Address(crc32(name.encode())))


def payment(name: str, at: int, **entities: str) -> Transaction:
    return Transaction(
        transaction_id=f"t-{name}", event_time=START + timedelta(seconds=at), card_id=f"card-{name}", amount_minor=100 + at,
        currency="EUR", customer_id=f"cu-{name}", **{field: entities.get(field, address(name) if field == "ip" else f"{field}-{name}") for field in HOT},
    )  # fmt: skip


def one_chunk(payments: Sequence[Transaction]) -> WatchedRedis:
    """What a chunk of each topic asks of an empty store."""
    log, redis = MemoryLog(), WatchedRedis()
    homes = partitions_of([tx.card_id for tx in payments], PARTITIONS).tolist()
    for tx, home in zip(payments, homes, strict=True):
        log.produce("transactions", tx.card_id, encode(tx), home)
    # room for a whole crowd
    worker = Worker(log, redis, 1 << 24)
    redis.touched.clear()
    worker.step("transactions", ALL)
    worker.step("entities", ALL)
    assert not worker.behind()
    return redis


def keys_of(payments: Sequence[Transaction], fields: Sequence[str]) -> set[bytes]:
    return {payments_key(ENTITY_OF[field], getattr(tx, field)) for tx in payments for field in fields}


def payments_key(entity: str, name: str) -> bytes:
    return key(PAYMENTS_OF[entity], name, PARTITIONS)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(2, 40), st.randoms(use_true_random=False))
def test_one_write_of_a_hot_merchant_and_the_others_as_without_it(hot: int, others: int, order: Any) -> None:
    rest = [payment(f"o{i}", i) for i in range(others)]
    crowd = [payment(f"h{i}", i, merchant_id=HOT["merchant_id"]) for i in range(hot)]
    mixed = [*rest, *crowd]
    order.shuffle(mixed)
    alone, together = one_chunk(rest), one_chunk(mixed)
    merchant = payments_key("merchant", HOT["merchant_id"])
    assert together.touched["MSET", merchant] == together.touched["MGET", merchant] == 1
    assert profile_of(together, MERCHANT_STATE, HOT["merchant_id"])["hour_count"].sum() == hot
    # every other command, and how often, is what it was; the crowd's own cards, customers, devices and addresses come on top
    before, after = alone.touched, together.touched
    assert before and {command: after[command] for command in before} == before
    own = {merchant} | keys_of(crowd, ["device_id", "ip"])
    own |= {payments_key(e, getattr(tx, f"{e}_id")) for tx in crowd for e in ("card", "customer")}
    assert {each for name, each in set(after) - set(before) if name == "MSET"} == own


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 400))
def test_all_payments_at_one_merchant_device_and_address_are_three_writes(count: int) -> None:
    crowd = [payment(f"h{i}", i, **HOT) for i in range(count)]
    redis = one_chunk(crowd)
    hot = keys_of(crowd, list(HOT))
    assert len(hot) == 3
    for each in hot:
        assert redis.touched["MSET", each] == redis.touched["MGET", each] == 1
        assert redis.written[each] <= MAX_BYTES
