"""State of who is silent for 60 days goes; who pays again is kept, at the price of one EXPIRE a week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from features.online.layout import KEEP_S, entity_key
from streams.events import Transaction, encode
from streams.partitioning import partitions_of
from tests.property.parity_world import PARTITIONS, MemoryLog, MemoryRedis, Worker

START = datetime(2026, 3, 1, 10, tzinfo=UTC)


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


def test_each_entity_is_kept_for_60_days_from_its_last_week() -> None:
    log, redis = MemoryLog(), Expiring()
    worker = Worker(log, redis)
    for number, hours in enumerate((0, 1, 2, 8 * 24, 8 * 24 + 1)):
        tx = Transaction(
            transaction_id=f"t-{number}", event_time=START + timedelta(hours=hours), card_id="card-1", merchant_id="m-1",
            amount_minor=100, currency="EUR", customer_id="cu-1",
        )  # fmt: skip
        log.produce("transactions", "card-1", encode(tx), int(partitions_of(["card-1"], PARTITIONS)[0]))
        worker.step("transactions", 10)
        worker.step("entities", 10)
    for entity, name in (("card", "card-1"), ("merchant", "m-1"), ("customer", "cu-1")):
        key = entity_key(entity, name)
        # payments of two weeks, two refreshes, not five
        assert [(k, s) for k, s in redis.expired if k == key] == [(key, KEEP_S)] * 2
