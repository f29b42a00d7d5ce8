"""Records that nobody can read: decisions go on beside them, and each is kept as a dead letter."""

from __future__ import annotations

import time
from collections import Counter

from streams.log.topics import DEAD_LETTERS, TRANSACTIONS
from streams.runtime.dead_letters import decode_dead_letter
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings
from tests.attack.bystanders import undecided
from tests.attack.registry import Finding, attack
from tests.support.running import ends_of, read_topic

#: what a producer's mistake or an attacker sends in place of a transaction
UNREADABLE: tuple[bytes | None, ...] = (
    None,
    b"",
    b"not json",
    b"\xef\xbb\xbf{}",
    b'{"transaction_id":"\xff"}',
    b'{"transaction_id":"\\ud800"}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"amount_minor":' + b"9" * 401 + b"}",
    b'{"amount_minor":1e400}',
    b'{"amount_minor":NaN}',
)
KEPT_WITHIN_S = 60.0


@attack("poison on transactions")
def unreadable_transactions(settings: Settings) -> Finding:
    """Values that are no transactions, on every partition."""
    before = ends_of(settings, DEAD_LETTERS.name, 1)
    producer = new_producer(settings.kafka, "attacker")
    for partition in range(settings.partitions):
        for value in UNREADABLE:
            producer.produce(TRANSACTIONS.name, partition=partition, value=value)
    flush(producer, 30)
    stopped = undecided(settings)
    wanted = len(UNREADABLE) * settings.partitions
    kept = _kept(settings, before, wanted)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(kept.items()))
    text = f"no decisions on partitions {stopped}; " if stopped else ""
    return Finding(
        not stopped and kept.total() == wanted, f"{text}{kept.total()} of {wanted} dead letters: {reasons}"
    )


def _kept(settings: Settings, start: dict[int, int], wanted: int) -> Counter[str]:
    """Dead letters of transactions since ``start`` by reason, once there are ``wanted`` of them or the wait is over."""
    until = time.monotonic() + KEPT_WITHIN_S
    while True:
        letters = [
            decode_dead_letter(record.value()) for record in read_topic(settings, DEAD_LETTERS.name, start)
        ]
        kept = Counter(letter.reason for letter in letters if letter.source_topic == TRANSACTIONS.name)
        if kept.total() >= wanted or time.monotonic() > until:
            return kept
        time.sleep(0.5)
