"""Kafka records as the archive meets them, made by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from features.catalogue import CATALOGUE_HASH, WIDTH
from features.transaction import Transaction, from_ms
from models.decision import Decision
from streams.contracts.outcome import Outcome
from streams.contracts.text.json_encoding import encode
from streams.log.feature_batch import FeatureRecord
from tests.support.feature_batches import encode_features

START_MS = 1_795_000_000_000


@dataclass(frozen=True)
class Record:
    """The fields of aiokafka's ConsumerRecord that are read here."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes = b"card-1"
    headers: tuple = ()


def transaction(number: int, event_ms: int) -> Transaction:
    return Transaction(
        transaction_id=f"tx-{number}", event_time=from_ms(event_ms), card_id=f"card-{number % 7}", merchant_id="m-1",
        amount_minor=100 + number, currency="EUR", channel="ecom" if number % 2 else None, country="FR",
    )  # fmt: skip


def features(
    number: int,
    partition: int = 0,
    offset: int | None = None,
    event_ms: int | None = None,
    source: int | None = None,
    catalogue: str = CATALOGUE_HASH,
    deadline_ms: int = 100,
) -> Record:
    at = START_MS + number if event_ms is None else event_ms
    vector = np.arange(WIDTH, dtype="<f4") + number
    vector[3] = np.nan
    value = FeatureRecord(
        catalogue=catalogue, partition=partition, offset=number if source is None else source, appended_ms=at + 5,
        deadline_ms=deadline_ms, missing=0, transaction=transaction(number, at), event_ms=at, vector=vector.tobytes(),
        as_of=(-1, -1, -1, -1, -1),
    )  # fmt: skip
    return Record("features", partition, number if offset is None else offset, at + 7, encode_features(value))


def decision(number: int) -> Decision:
    at = from_ms(START_MS + number)
    return Decision(
        transaction_id=f"tx-{number}", decision="approve", status="scored", score=0.25, reasons=[], model="fraud",
        model_version="1.0.0", policy_version="1", features_version=CATALOGUE_HASH, arm="champion", shadow={}, rules=[],
        event_time=at, received_at=at, decided_at=at + timedelta(microseconds=3456), latency_ms=3.5, card_id="card-1",
        tenant="default",
    )  # fmt: skip


def decisions(number: int, partition: int = 0, headers: tuple = ()) -> Record:
    value = encode(decision(number))
    return Record("decisions", partition, number, START_MS + number, value, headers=headers)


def outcomes(number: int, partition: int = 0) -> Record:
    outcome = Outcome(
        decision=decision(number),
        label="fraud",
        label_time=from_ms(START_MS + 10),
        source="chargeback",
        merchant_id="m-1",
    )
    return Record("outcomes", partition, number, START_MS + number, encode(outcome))
