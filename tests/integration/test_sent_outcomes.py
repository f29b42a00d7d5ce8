"""The tail of `outcomes` on a real broker: what a labels worker learns when it takes partitions."""

from __future__ import annotations

from features.transaction import from_ms
from streams.contracts.outcome import Outcome
from streams.contracts.text.json_encoding import encode
from streams.labels.sent_outcomes import key_of, sent_outcomes
from streams.log.topics import OUTCOMES
from streams.runtime.kafka.clients import new_producer
from streams.runtime.settings import Settings
from tests.support.archive_samples import START_MS, decision


def outcome(number: int) -> Outcome:
    made = decision(number)
    made.transaction_id = f"sent-{number}"
    return Outcome(
        decision=made, label="fraud", label_time=from_ms(START_MS), source="chargeback", merchant_id="m-1"
    )


def test_the_outcomes_of_the_partitions_taken_are_known_and_others_not(kafka_redis: Settings) -> None:
    producer = new_producer(kafka_redis.kafka, "sent-outcomes")
    for number in range(4):
        producer.produce(OUTCOMES.name, encode(outcome(number)), b"card", partition=number % 2)
        producer.produce(OUTCOMES.name, b"poison", b"card", partition=number % 2)
    assert producer.flush(60) == 0
    producer.close()
    keys = [key_of(outcome(number)) for number in range(4)]
    known = sent_outcomes(kafka_redis.kafka, [0])
    assert [key in known for key in keys] == [True, False, True, False]
    both = sent_outcomes(kafka_redis.kafka, [0, 1])
    assert set(keys) <= both
    assert sent_outcomes(kafka_redis.kafka, []) == set()
