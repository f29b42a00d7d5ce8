"""Takes records of `decisions` and `outcomes` into the console's tables, a batch in one transaction with its positions.

An approved decision is only counted, from four of its fields. Others are kept whole, with what their header says of the payment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection
from typing import Any, Literal

import msgspec
from confluent_kafka import Message

from features.currencies import DECIMALS
from features.identity import DEFAULT_TENANT, identity_of
from features.transaction import Instant, epoch_ms
from models.decision import DecisionName
from services.console.kept.database import Database
from services.console.kept.ticks import Ticks, forget
from streams.contracts.decision import MAX_DECISION_BYTES, decode_decision
from streams.contracts.invalid_event import UNREADABLE, InvalidEvent
from streams.log.records import HEADER_ENTITIES, DecidedEntities, decode_entities
from streams.log.topics import DECISIONS, OUTCOMES
from streams.runtime.kafka.clients import headers_of
from streams.runtime.passed_over import pass_over

KEEP_DAYS = 30
#: a closed case is kept so long after its last change
KEEP_CASES_DAYS = 400
#: decisions kept; beyond, the oldest go
MAX_KEPT = 500_000
DAY_S = 86_400
_TRIM_EVERY_S = 60.0
#: what is kept of a payment, columns of the table that are fields of ``DecidedEntities``
PAYMENT = ("merchant_id", "device_id", "ip", "customer_id", "amount_minor", "currency", "channel", "country")


class _Counted(msgspec.Struct, gc=False):
    """What is read of every decision."""

    decision: DecisionName
    status: Literal["scored", "degraded", "not_scored"]
    latency_ms: float
    tenant: str = DEFAULT_TENANT


class _Decided(msgspec.Struct):
    transaction_id: str
    tenant: str = DEFAULT_TENANT


class _Labelled(msgspec.Struct):
    decision: _Decided
    label: Literal["fraud", "legit"]
    label_time: Instant
    source: str


_counted_decoder = msgspec.json.Decoder(_Counted)
_labelled_decoder = msgspec.json.Decoder(_Labelled)

_INSERT = (
    "INSERT OR IGNORE INTO decision (identity, tenant, transaction_id, decision, status, score, decided_ms, card_id, open, public, "
    f"{', '.join(PAYMENT)}, loss) VALUES ({', '.join('?' * (11 + len(PAYMENT)))})"
)


def expected_loss(score: float | None, amount_minor: int, currency: str) -> float:
    """Score times amount in units of its currency, not converted; a payment without a score counts in full."""
    units: int = 10 ** DECIMALS.get(currency, 2)
    return (1.0 if score is None else score) * amount_minor / units


def _of(places: Mapping[tuple[str, int], Sequence[Message]], topic: str) -> list[Message]:
    """The records of a topic."""
    return [message for (name, _), found in places.items() if name == topic for message in found]


def _counted(decided: Sequence[Message]) -> list[tuple[Message, _Counted]]:
    """The decisions that can be read; others are passed over."""
    raws = [message.value() or b"" for message in decided]
    lines = b"\n".join(raws)
    # decoded in one call, for a third of the cost, where each record is one line
    if lines.count(b"\n") == len(raws) - 1 and all(raws):
        try:
            return list(zip(decided, _counted_decoder.decode_lines(lines), strict=True))
        except UNREADABLE:
            pass
    out = []
    for message, raw in zip(decided, raws, strict=True):
        try:
            out.append((message, _counted_decoder.decode(raw)))
        except UNREADABLE as error:
            pass_over(message, InvalidEvent("field", "", str(error)))
    return out


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
        kept = self._count(decided)
        with self._database.write() as connection:
            self._keep(connection, kept)
            self._label(connection, _of(places, OUTCOMES.name))
            self._ticks.write(connection)
            self._write_positions(connection, places)
            if now_s - self._trimmed_s > _TRIM_EVERY_S:
                self._trimmed_s = now_s
                trim(connection, now_s)
        return len(decided)

    def _count(self, decided: Sequence[Message]) -> list[tuple[Message, int]]:
        """Count all, and return those that are not approved, with their time."""
        readable = _counted(decided)
        if not readable:
            return []
        times = [message.timestamp()[1] for message, _ in readable]
        seen = [
            (at_ms // 1000, found.tenant, found.decision, found.status)
            for at_ms, (_, found) in zip(times, readable, strict=True)
        ]
        self._ticks.add(seen, [found.latency_ms for _, found in readable])
        self.newest_ms = max(self.newest_ms, *times)
        return [
            (message, at_ms)
            for at_ms, (message, found) in zip(times, readable, strict=True)
            if found.decision != "approve"
        ]

    def _keep(self, connection: Connection, kept: Iterable[tuple[Message, int]]) -> None:
        for message, at_ms in kept:
            raw = message.value()
            try:
                decision = decode_decision(raw)
                public = raw.decode()
            except InvalidEvent as error:
                pass_over(message, error)
                continue
            paid = _paid(message)
            cursor = connection.execute(
                _INSERT,
                (
                    identity_of(decision.tenant, decision.transaction_id), decision.tenant, decision.transaction_id,
                    decision.decision, decision.status, decision.score, at_ms, decision.card_id,
                    int(decision.decision == "review"), public, *_columns(decision.score, paid),
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
            raw = message.value() or b""
            try:
                found = _labelled_decoder.decode(raw if len(raw) <= 2 * MAX_DECISION_BYTES else b"")
                at_ms = epoch_ms(found.label_time)
            except UNREADABLE as error:
                pass_over(message, InvalidEvent("field", "", str(error)))
                continue
            identity = identity_of(found.decision.tenant, found.decision.transaction_id)
            connection.execute(
                "UPDATE decision SET label = ?, label_source = ?, label_ms = ?, label_state = 'matured', open = 0 "
                "WHERE identity = ? AND (label_ms IS NULL OR label_ms <= ?)",
                (found.label, found.source, at_ms, identity, at_ms),
            )

    def _write_positions(
        self, connection: Connection, places: Mapping[tuple[str, int], Sequence[Message]]
    ) -> None:
        # messages of one partition come in order
        moved = {place: found[-1].offset() + 1 for place, found in places.items()}
        connection.executemany(
            "REPLACE INTO position VALUES (?, ?, ?)", [(*place, to) for place, to in moved.items()]
        )
        self.positions.update(moved)


def _paid(message: Message) -> DecidedEntities | None:
    """What a decision's header says of its payment; None if it does not: whoever may produce can write there."""
    try:
        return decode_entities(dict(headers_of(message))[HEADER_ENTITIES] or b"")
    except (KeyError, *UNREADABLE):
        return None


def _columns(score: float | None, paid: DecidedEntities | None) -> tuple[Any, ...]:
    """The columns of a payment, and the expected loss; 0 while the amount is not known."""
    if paid is None:
        return (*(None for _ in PAYMENT), 0.0)
    loss = 0.0
    if paid.amount_minor is not None and paid.currency is not None:
        loss = expected_loss(score, paid.amount_minor, paid.currency)
    return (*(getattr(paid, name) for name in PAYMENT), loss)


def trim(connection: Connection, now_s: float, keep_days: int = KEEP_DAYS, max_kept: int = MAX_KEPT) -> None:
    """Remove what is too old, or beyond what is kept. Notes go with their decision; open cases stay."""
    begin_ms = int((now_s - keep_days * DAY_S) * 1000)
    over = connection.execute("SELECT decided_ms FROM decision ORDER BY decided_ms DESC LIMIT 1 OFFSET ?", (max_kept,)).fetchone()  # fmt: skip
    if over is not None:
        begin_ms = max(begin_ms, over[0] + 1)
    connection.execute(
        "DELETE FROM note WHERE identity IN (SELECT identity FROM decision WHERE decided_ms < ?)", (begin_ms,)
    )
    connection.execute("DELETE FROM rule_hit WHERE decided_ms < ?", (begin_ms,))
    connection.execute("DELETE FROM decision WHERE decided_ms < ?", (begin_ms,))
    closed = "SELECT id FROM case_file WHERE state = 'closed' AND changed_ms < ?"
    cases_ms = int((now_s - KEEP_CASES_DAYS * DAY_S) * 1000)
    for table in ("case_entity", "case_event"):
        connection.execute(f"DELETE FROM {table} WHERE case_id IN ({closed})", (cases_ms,))
    connection.execute(f"DELETE FROM case_file WHERE id IN ({closed})", (cases_ms,))
    forget(connection, int(now_s), keep_days * DAY_S)
