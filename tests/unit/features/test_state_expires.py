"""State of who is silent for 60 days goes; who pays again is kept, at the price of one EXPIRE a week."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from features.store.keys import CARD_STATE, CUSTOMER_STATE, KEEP_S, MERCHANT_STATE, entity_key
from features.transaction import Transaction, from_ms
from streams.contracts.json_encoding import encode
from streams.log.partitioning import partitions_of
from tests.support.parity_world import APPENDED_MS, PARTITIONS, MemoryLog, MemoryRedis, Worker
from tests.support.whole import profile_of

APPENDED = from_ms(APPENDED_MS)
NAMED = ((CARD_STATE, "card-1"), (MERCHANT_STATE, "m-1"), (CUSTOMER_STATE, "cu-1"))


class Expiring(MemoryRedis):
    """Keeps what EXPIRE said, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.expired: list[tuple[Any, int]] = []

    def _one(self, command: Any) -> Any:
        if command[0] == b"EXPIRE":
            self.expired.append((command[1], int(command[2])))
            return 1
        return super()._one(command)


class Paying:
    """One card that pays at one merchant; each payment is its own chunk."""

    def __init__(self) -> None:
        self.log, self.redis = MemoryLog(), Expiring()
        self.worker = Worker(self.log, self.redis)
        self.payments = 0

    def pay(self, moment: datetime) -> None:
        self.payments += 1
        tx = Transaction(
            transaction_id=f"t-{self.payments}", event_time=moment, card_id="card-1", merchant_id="m-1",
            amount_minor=100, currency="EUR", customer_id="cu-1",
        )  # fmt: skip
        self.log.produce("transactions", "card-1", encode(tx), int(partitions_of(["card-1"], PARTITIONS)[0]))
        self.worker.step("transactions", 10)
        self.worker.step("entities", 10)


def test_each_entity_is_kept_for_60_days_from_its_last_week() -> None:
    world = Paying()
    for hours in (0, 1, 2, 8 * 24, 8 * 24 + 1):
        world.pay(APPENDED - timedelta(days=10) + timedelta(hours=hours))
    for view, name in NAMED:
        key = entity_key(view.entity, name)
        # payments of two weeks, two refreshes, not five
        assert [(k, s) for k, s in world.redis.expired if k == key] == [(key, KEEP_S)] * 2


@pytest.mark.parametrize("days", [31, 59, 61, 400])
def test_who_was_silent_for_long_is_stored_whole_and_kept_anew(days: int) -> None:
    """By the time the next payment comes the hash may have expired, while this worker still has the profile in memory."""
    world = Paying()
    for minutes in range(20):
        world.pay(APPENDED - timedelta(days=days, minutes=20 - minutes))
    world.redis.hashes = {
        key: fields for key, fields in world.redis.hashes.items() if not isinstance(key, bytes)
    }
    world.redis.expired.clear()
    # one that comes late: it is not even of another week than the newest
    world.pay(APPENDED - timedelta(days=days, minutes=30))
    for view, name in NAMED:
        key = entity_key(view.entity, name)
        assert (key, KEEP_S) in world.redis.expired
        profile = profile_of(view, world.redis.hashes[key])
        count = profile["hours"].sum() if view != MERCHANT_STATE else profile["day_count"].sum()
        assert count == 21, view.name
