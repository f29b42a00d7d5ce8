"""Dead letters of payments that nobody refused: if a person sends them again, nothing is decided twice, and nothing passes for an honest payment."""

from __future__ import annotations

import time

import msgspec

from streams.contracts.invalid_event import InvalidEvent
from streams.log.topics import DEAD_LETTERS, DECISIONS, TRANSACTIONS
from streams.runtime.dead_letters import Consumed, dead_letter, send_dead_letter
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.settings import Settings, acting_as
from tests.attack.attacker import PRODUCER, edge, writer
from tests.attack.bystanders import payment
from tests.attack.registry import Finding, attack
from tests.support.running import ends_of, read_topic, run_cli
from tests.support.waiting import STALL_S, until


@attack("forged dead letters that are sent again")
def forged_letters(settings: Settings) -> Finding:
    """One holds another payment than its place, one the decided payment that stands there. The operator sends both again."""
    starts = {
        topic.name: ends_of(settings, topic.name, settings.partitions) for topic in (TRANSACTIONS, DECISIONS)
    }
    producer = new_producer(acting_as(settings, PRODUCER).kafka, "attacker")
    payments = [payment("card-forged") for _ in range(2)]
    values = [msgspec.json.encode(one) for one in payments]
    for value in values:
        producer.produce(TRANSACTIONS.name, value, "card-forged")
    flush(producer, 30)
    with edge(settings) as client:
        for one in payments:
            path = f"/v1/decisions/{one['transaction_id']}"
            until(lambda path=path: client.get(path).status_code == 200, STALL_S, "its decision")
    first, second = [
        record
        for record in read_topic(settings, TRANSACTIONS.name, starts[TRANSACTIONS.name])
        if record.value() in values
    ]
    forger = new_producer(writer(settings, DEAD_LETTERS.name), "attacker")
    changed = first.value().replace(b'"amount_minor":1299', b'"amount_minor":9999')
    for record, value in ((first, changed), (second, second.value())):
        letter = Consumed(TRANSACTIONS.name, record.partition(), record.offset(), value)
        send_dead_letter(
            forger, dead_letter(letter, InvalidEvent("field", "mcc", "a lie"), int(time.time() * 1000))
        )
    flush(forger, 30)
    ids = [f"{TRANSACTIONS.name}/{record.partition()}/{record.offset()}" for record in (first, second)]
    done = [run_cli(settings, "dead-letters", "replay", "--id", name).returncode for name in ids]
    # what comes after them on their partition is decided: so they were handled
    after = payment("card-forged")
    producer.produce(TRANSACTIONS.name, msgspec.json.encode(after), "card-forged")
    flush(producer, 30)
    until(lambda: _decisions(settings, starts) >= 3, STALL_S, "the payment after them")
    decided = _decisions(settings, starts)
    return Finding(
        done == [2, 0] and decided == 3, f"sent again: exit {done}; {decided} decisions of 3 payments"
    )


def _decisions(settings: Settings, starts: dict[str, dict[int, int]]) -> int:
    """Decisions of the card since the attack began."""
    return sum(
        b'"card_id":"card-forged"' in (record.value() or b"")
        for record in read_topic(settings, DECISIONS.name, starts[DECISIONS.name])
    )
