"""Features of payments that come in any order, and a model whose decisions depend on that order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from features.catalogue import INDEX
from features.store.partitions import partitions_of
from features.transaction import Transaction
from streams.contracts.text.json_encoding import encode
from streams.log.feature_batch import FeatureRecord
from tests.support.feature_batches import rows_in
from tests.support.parity_world import PARTITIONS, MemoryLog, MemoryRedis, Worker

START = datetime(2026, 3, 1, tzinfo=UTC)


class CountsPayments:
    """A model that declines the third payment within an hour, and nothing else."""

    columns = np.array([INDEX["card_count_1h"]])

    def with_attributes(self, matrix: Any, given: Any) -> Any:
        return matrix

    def score(self, matrix: Any) -> Any:
        return (matrix[:, INDEX["card_count_1h"]] >= 3).astype(np.float32)

    def decide(self, scores: Any, matrix: Any) -> tuple[Any, list[list[str]]]:
        return (2 * (scores > 0.5)).astype(np.int8), [[] for _ in scores]


def served(minutes: list[float], card: str = "card-1") -> list[FeatureRecord]:
    """The processor's records of a card's payments, in the order in which they came; one chunk each."""
    log = MemoryLog()
    worker = Worker(log, MemoryRedis())
    for number, at in enumerate(minutes):
        tx = Transaction(
            transaction_id=f"t-{number}", event_time=START + timedelta(minutes=at), card_id=card, merchant_id="m",
            amount_minor=100, currency="EUR",
        )  # fmt: skip
        log.produce("transactions", card, encode(tx), int(partitions_of([card], PARTITIONS)[0]))
        worker.step("transactions", 1)
    return rows_in(record.value for record in log.records("features"))
