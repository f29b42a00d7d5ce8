"""State of who is silent for 60 days goes; who pays again is kept, at the price of an EXPIRE every three weeks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from features.catalogue import LABEL_DELAY_S, WINDOWS
from features.online.layout import KEEP_AGAIN_MS, KEEP_S, entity_key
from streams.events import Transaction, encode
from streams.partitioning import partitions_of
from tests.property.parity_world import PARTITIONS, MemoryLog, MemoryRedis, Worker

AGAIN = timedelta(milliseconds=KEEP_AGAIN_MS)
#: where a stretch begins
START = datetime(1970, 1, 1, tzinfo=UTC) + 980 * AGAIN


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


def test_nothing_goes_that_a_window_still_looks_at() -> None:
    # the last payment may come at the end of a stretch whose first one began the time
    assert max(WINDOWS.values()) + LABEL_DELAY_S <= KEEP_S - KEEP_AGAIN_MS / 1000


def test_each_entity_is_kept_for_60_days_from_its_last_stretch() -> None:
    log, redis = MemoryLog(), Expiring()
    worker = Worker(log, redis)
    moments = [START, START + timedelta(days=8), START + 0.99 * AGAIN, START + AGAIN, START + 1.5 * AGAIN]
    for number, moment in enumerate(moments):
        tx = Transaction(
            transaction_id=f"t-{number}", event_time=moment, card_id="card-1", merchant_id="m-1",
            amount_minor=100, currency="EUR", customer_id="cu-1",
        )  # fmt: skip
        log.produce("transactions", "card-1", encode(tx), int(partitions_of(["card-1"], PARTITIONS)[0]))
        worker.step("transactions", 10)
        worker.step("entities", 10)
    for entity, name in (("card", "card-1"), ("merchant", "m-1"), ("customer", "cu-1")):
        key = entity_key(entity, name)
        # payments in two stretches, two refreshes, not five
        assert [(k, s) for k, s in redis.expired if k == key] == [(key, KEEP_S)] * 2
