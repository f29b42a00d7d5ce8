"""Takes records of `decisions` and `outcomes` into the console's tables, a batch in one transaction with its positions.

An approved decision is only counted, from five of its fields. Others are kept whole, with what their header says of the payment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection
from typing import Any

from confluent_kafka import Message

from features.currencies import DECIMALS
from features.identity import identity_of
from services.console.kept.database import Database
from services.console.kept.records import Labelled, counted, labelled, paid
from services.console.kept.ticks import Ticks
from services.console.kept.trimming import trim
from streams.contracts.decision import decode_decision
from streams.contracts.invalid_event import InvalidEvent
from streams.log.records import DecidedEntities
from streams.log.topics import DECISIONS, OUTCOMES
from streams.runtime.passed_over import pass_over

HOUR_MS = 3_600_000
_TRIM_EVERY_S = 60.0
#: what is kept of a payment, columns of the table that are fields of ``DecidedEntities``
PAYMENT = ("merchant_id", "device_id", "ip", "customer_id", "amount_minor", "currency", "channel", "country")
#: (rule, hour in milliseconds since 1970, tenant)
_Passed = Counter[tuple[str, int, str]]

_INSERT = (
    "INSERT OR IGNORE INTO decision (identity, tenant, transaction_id, decision, status, score, decided_ms, card_id, open, public, "
    f"{', '.join(PAYMENT)}, loss) VALUES ({', '.join('?' * (11 + len(PAYMENT)))})"
)
_PASSED = (
    "INSERT INTO rule_passed VALUES (?, ?, ?, ?) "
    "ON CONFLICT (rule, hour_ms, tenant) DO UPDATE SET payments = payments + excluded.payments"
)


def expected_loss(score: float | None, amount_minor: int, currency: str) -> float:
    """Score times amount in units of its currency, not converted; a payment without a score counts in full."""
    units: int = 10 ** DECIMALS.get(currency, 2)
    return (1.0 if score is None else score) * amount_minor / units


def _of(places: Mapping[tuple[str, int], Sequence[Message]], topic: str) -> list[Message]:
    """The records of a topic."""
    return [message for (name, _), found in places.items() if name == topic for message in found]


class Taker:
    """Applies batches of Kafka messages. ``positions``: by topic and partition, the offset after the last record taken."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ticks = Ticks()
        self._trimmed_s = 0.0
        self.positions: dict[tuple[str, int], int] = {
            (topic, partition): offset
            for topic, partition, offset in database.read().execute(
                "SELECT topic, partition, offset FROM position"
            )
        }
        #: time of the newest decision taken, in milliseconds since 1970 as the broker stamped it; 0: none yet
        self.newest_ms = 0

    def take(self, messages: Sequence[Message], now_s: float) -> int:
        """Take records; returns how many decisions were among them."""
        places: dict[tuple[str, int], list[Message]] = {}
        for message in messages:
            places.setdefault((message.topic(), message.partition()), []).append(message)
        decided = _of(places, DECISIONS.name)
        if not messages and now_s - self._trimmed_s <= _TRIM_EVERY_S:
            return 0
        # what a batch names is kept only once all of it is
        kept, passed = self._count(decided)
        with self._database.write() as connection:
            self._keep(connection, kept)
            connection.executemany(_PASSED, [(*place, count) for place, count in passed.items()])
            self._label(connection, _of(places, OUTCOMES.name))
            self._ticks.write(connection)
            self._write_positions(connection, places)
            if now_s - self._trimmed_s > _TRIM_EVERY_S:
                self._trimmed_s = now_s
                trim(connection, now_s)
        return len(decided)

    def _count(self, decided: Sequence[Message]) -> tuple[list[tuple[Message, int]], _Passed]:
        """Count all, and return those that are not approved, with their time, and what matched the approved ones."""
        readable = counted(decided)
        if not readable:
            return [], Counter()
        times = [message.timestamp()[1] for message, _ in readable]
        seen = [
            (at_ms // 1000, found.tenant, found.decision, found.status)
            for at_ms, (_, found) in zip(times, readable, strict=True)
        ]
        self._ticks.add(seen, [found.latency_ms for _, found in readable])
        self.newest_ms = max(self.newest_ms, *times)
        kept: list[tuple[Message, int]] = []
        passed: _Passed = Counter()
        for at_ms, (message, found) in zip(times, readable, strict=True):
            if found.decision != "approve":
                kept.append((message, at_ms))
            elif found.rules:
                passed.update((rule, at_ms - at_ms % HOUR_MS, found.tenant) for rule in found.rules)
        return kept, passed

    def _keep(self, connection: Connection, kept: Iterable[tuple[Message, int]]) -> None:
        for message, at_ms in kept:
            raw = message.value()
            try:
                decision = decode_decision(raw)
                public = raw.decode()
            except InvalidEvent as error:
                pass_over(message, error)
                continue
            known = paid(message)
            cursor = connection.execute(
                _INSERT,
                (
                    identity_of(decision.tenant, decision.transaction_id), decision.tenant, decision.transaction_id,
                    decision.decision, decision.status, decision.score, at_ms, decision.card_id,
                    int(decision.decision == "review"), public, *_columns(decision.score, known),
                ),
            )  # fmt: skip
            if not cursor.rowcount or cursor.lastrowid is None:
                continue
            connection.executemany(
                "INSERT OR IGNORE INTO rule_hit VALUES (?, ?, ?)",
                [(rule, at_ms, cursor.lastrowid) for rule in decision.rules],
            )

    def _label(self, connection: Connection, outcomes: Iterable[Message]) -> None:
        for message in outcomes:
            read = labelled(message)
            if read is None:
                continue
            found, at_ms = read
            identity = identity_of(found.decision.tenant, found.decision.transaction_id)
            connection.execute(
                "UPDATE decision SET label = ?, label_source = ?, label_ms = ?, label_state = 'matured', open = 0 "
                "WHERE identity = ? AND (label_ms IS NULL OR label_ms <= ?)",
                (found.label, found.source, at_ms, identity, at_ms),
            )
            if found.decision.decision == "approve":
                _note_missed(connection, identity, found, at_ms)

    def _write_positions(
        self, connection: Connection, places: Mapping[tuple[str, int], Sequence[Message]]
    ) -> None:
        # messages of one partition come in order
        moved = {place: found[-1].offset() + 1 for place, found in places.items()}
        connection.executemany(
            "REPLACE INTO position VALUES (?, ?, ?)", [(*place, to) for place, to in moved.items()]
        )
        self.positions.update(moved)


def _note_missed(connection: Connection, identity: str, found: Labelled, at_ms: int) -> None:
    """Keep an approved payment that is labelled fraud, until a later label says otherwise."""
    if found.label == "fraud" and found.amount_minor is not None and found.currency is not None:
        connection.execute(
            "INSERT INTO missed_fraud VALUES (?, ?, ?, ?, ?) ON CONFLICT (identity) DO UPDATE SET label_ms = max(label_ms, excluded.label_ms)",
            (identity, found.decision.tenant, at_ms, found.currency, found.amount_minor),
        )
    elif found.label == "legit":
        connection.execute("DELETE FROM missed_fraud WHERE identity = ? AND label_ms <= ?", (identity, at_ms))


def _columns(score: float | None, paid: DecidedEntities | None) -> tuple[Any, ...]:
    """The columns of a payment, and the expected loss; 0 while the amount is not known."""
    if paid is None:
        return (*(None for _ in PAYMENT), 0.0)
    loss = 0.0
    if paid.amount_minor is not None and paid.currency is not None:
        loss = expected_loss(score, paid.amount_minor, paid.currency)
    return (*(getattr(paid, name) for name in PAYMENT), loss)
