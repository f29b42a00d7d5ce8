"""What a chunk of `transactions` holds: accepted, refused, and placed on another partition than its card's. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from streams.events import InvalidEvent, Transaction, parse_transaction, unknown_fields
from streams.partitioning import partitions_of
from streams.records import (
    HEADER_APPENDED_MS,
    HEADER_DEADLINE_MS,
    HEADER_DECIDED,
    EdgeDecision,
    decode_edge_decision,
)


@dataclass(frozen=True)
class Accepted:
    """One transaction that fits, on its card's partition."""

    transaction: Transaction
    event_ms: int
    partition: int
    offset: int
    appended_ms: int
    deadline_ms: int
    decided: EdgeDecision | None
    trace: str | None


@dataclass(frozen=True)
class Misplaced:
    """One transaction that fits, found on another partition than its card's."""

    record: Any
    card_id: str
    partition: int


@dataclass
class Intake:
    """One chunk, sorted out."""

    accepted: list[Accepted] = field(default_factory=list)
    refused: list[tuple[Any, InvalidEvent]] = field(default_factory=list)
    misplaced: list[Misplaced] = field(default_factory=list)
    unknown_fields: int = 0


def sort_out(records: Iterable[Any], partitions: int, default_deadline_ms: int) -> Intake:
    """Parse every record and say what becomes of it.

    Args:
        records: with ``partition, offset, timestamp (ms), value, headers``.
        partitions: partition count of `transactions`.
        default_deadline_ms: for records that carry none.
    """
    intake = Intake()
    parsed: list[tuple[Any, Transaction]] = []
    for record in records:
        try:
            parsed.append((record, parse_transaction(record.value)))
        except InvalidEvent as error:
            intake.refused.append((record, error))
            continue
        intake.unknown_fields += len(unknown_fields(record.value))
    if not parsed:
        return intake
    homes = partitions_of([tx.card_id for _, tx in parsed], partitions).tolist()
    for (record, tx), home in zip(parsed, homes, strict=True):
        if home != record.partition:
            intake.misplaced.append(Misplaced(record, tx.card_id, home))
            continue
        try:
            intake.accepted.append(_accept(record, tx, default_deadline_ms))
        except InvalidEvent as error:
            intake.refused.append((record, error))
    return intake


def _accept(record: Any, tx: Transaction, default_deadline_ms: int) -> Accepted:
    headers = dict(record.headers) if record.headers else {}
    decided = headers.get(HEADER_DECIDED)
    trace = headers.get("traceparent")
    try:
        return Accepted(
            tx,
            tx.event_ms,
            record.partition,
            record.offset,
            int(headers[HEADER_APPENDED_MS]) if HEADER_APPENDED_MS in headers else record.timestamp,
            int(headers[HEADER_DEADLINE_MS]) if HEADER_DEADLINE_MS in headers else default_deadline_ms,
            decode_edge_decision(decided) if decided else None,
            trace.decode("ascii") if trace else None,
        )
    except ValueError as error:
        # msgspec's and UnicodeDecodeError are ValueErrors too
        raise InvalidEvent("header", "headers", f"a tollgate header does not parse: {error}") from error
