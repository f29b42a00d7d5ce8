"""What a chunk of `transactions` holds: accepted, refused, and placed on another partition than its card's. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from features.store.partitions import partitions_of
from features.transaction import MAX_AHEAD_MS, Transaction, epochs_ms
from models.decision import Decision
from streams.contracts.deadline import MAX_DEADLINE_MS
from streams.contracts.invalid_event import InvalidEvent, check_not_ahead
from streams.contracts.transaction_parsing import parse_together, parse_transaction, unknown_fields
from streams.log.records import (
    HEADER_APPENDED_MS,
    HEADER_DEADLINE_MS,
    HEADER_DECIDED,
    EdgeDecision,
    decode_edge_decision,
)

_TRACE = "traceparent"
_decision_decoder = msgspec.json.Decoder(Decision)


class Accepted(NamedTuple):
    """One transaction that fits, on its card's partition."""

    transaction: Transaction
    event_ms: int
    partition: int
    offset: int
    appended_ms: int
    deadline_ms: int
    decided: EdgeDecision | None
    trace: str | None


class Misplaced(NamedTuple):
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


def sort_out(records: Sequence[Any], partitions: int, default_deadline_ms: int) -> Intake:
    """Parse every record and say what becomes of it.

    Args:
        records: with ``partition, offset, timestamp (ms), value, headers``.
        partitions: partition count of `transactions`.
        default_deadline_ms: for records that carry none.
    """
    intake = Intake()
    parsed = _parsed(records, intake)
    if not parsed:
        return intake
    homes = partitions_of([tx.card_id for _, tx in parsed], partitions).tolist()
    moments = epochs_ms([tx.event_time for _, tx in parsed]).tolist()
    for (record, tx), home, event_ms in zip(parsed, homes, moments, strict=True):
        if home != record.partition:
            intake.misplaced.append(Misplaced(record, tx.card_id, home))
            continue
        appended_ms = record.timestamp
        if not record.headers and event_ms <= appended_ms + MAX_AHEAD_MS:
            # as nearly all are: what ``_accept`` would find, without a call for each thing that it looks at
            intake.accepted.append(
                Accepted(tx, event_ms, home, record.offset, appended_ms, default_deadline_ms, None, None)
            )
            continue
        try:
            intake.accepted.append(_accept(record, tx, event_ms, default_deadline_ms))
        except InvalidEvent as error:
            intake.refused.append((record, error))
    return intake


def _parsed(records: Sequence[Any], intake: Intake) -> list[tuple[Any, Transaction]]:
    """Each record with its transaction; what is refused, and what nobody knows, goes to ``intake``."""
    together = parse_together([record.value for record in records])
    if together is not None:
        parsed = list(zip(records, together.transactions, strict=True))
        if together.plain:
            return parsed
        # the exact look may refuse what the typed one passed over, such as a depth that is just too much for it
        with contextlib.suppress(InvalidEvent):
            intake.unknown_fields += sum(len(unknown_fields(record.value, tx)) for record, tx in parsed)
            return parsed
    parsed = []
    for record in records:
        try:
            tx = parse_transaction(record.value)
            intake.unknown_fields += len(unknown_fields(record.value, tx))
        except InvalidEvent as error:
            intake.refused.append((record, error))
            continue
        parsed.append((record, tx))
    return parsed


class Stretch(NamedTuple):
    """Records of one partition of `transactions` in offset order, a column for each thing that they hold; times in ms."""

    partition: int
    offsets: Sequence[int]
    appended_ms: Sequence[int]
    values: Sequence[bytes | None]
    headers: Sequence[Any]


Int64s = npt.NDArray[np.int64]


def accepted_only(stretch: Stretch, partitions: int) -> tuple[list[Transaction], Int64s, Int64s]:
    """What ``sort_out`` accepts, without all else that it finds out: transactions, event times (ms), offsets. For rebuilds."""
    rows, parsed = _together_or_apart(stretch.values)
    where = np.array(rows, dtype=np.int64)
    homes = partitions_of([tx.card_id for tx in parsed], partitions)
    event_ms = epochs_ms([tx.event_time for tx in parsed])
    keep = homes == stretch.partition
    keep &= event_ms <= np.array(stretch.appended_ms, dtype=np.int64)[where] + MAX_AHEAD_MS
    if any(stretch.headers):
        for i in np.flatnonzero(keep).tolist():
            try:
                _label_statement_beside(stretch.headers[rows[i]], parsed[i], stretch.appended_ms[rows[i]], 0)
            except InvalidEvent:
                keep[i] = False
    offsets = np.array(stretch.offsets, dtype=np.int64)[where]
    if not keep.all():
        parsed = [tx for tx, kept in zip(parsed, keep.tolist(), strict=True) if kept]
    return parsed, event_ms[keep], offsets[keep]


#: fewer values than these are looked at one by one
_FEW = 64


def _together_or_apart(values: Sequence[bytes | None], first: int = 0) -> tuple[list[int], list[Transaction]]:
    """Transactions that fit and their places, counted from ``first``. One that does not costs its neighbours a closer look, not all."""
    together = parse_together(values)
    if together is not None:
        found = together.transactions
        return list(range(first, first + len(found))), found
    if len(values) > _FEW:
        half = len(values) // 2
        rows, transactions = _together_or_apart(values[:half], first)
        more_rows, more = _together_or_apart(values[half:], first + half)
        return rows + more_rows, transactions + more
    rows, transactions = [], []
    for row, value in enumerate(values, first):
        with contextlib.suppress(InvalidEvent):
            transactions.append(parse_transaction(value))
            rows.append(row)
    return rows, transactions


def _accept(record: Any, tx: Transaction, event_ms: int, default_deadline_ms: int) -> Accepted:
    """Raises: InvalidEvent when a header does not parse, or the event lies in the future."""
    check_not_ahead(event_ms, record.timestamp)
    beside = _label_statement_beside(record.headers, tx, record.timestamp, default_deadline_ms)
    return Accepted(tx, event_ms, record.partition, record.offset, *beside)


def _label_statement_beside(
    given: Any, tx: Transaction, appended_ms: int, deadline_ms: int
) -> tuple[int, int, EdgeDecision | None, str | None]:
    """What headers say: append time (ms), deadline (ms), the edge's decision, trace; ``appended_ms`` and ``deadline_ms``: without them.

    Raises:
        InvalidEvent: one does not parse.
    """
    if not (given and _says_something(given)):
        return appended_ms, deadline_ms, None, None
    headers = dict(given)
    try:
        trace = headers.get(_TRACE)
        return (
            _number(headers, HEADER_APPENDED_MS, appended_ms, appended_ms),
            _number(headers, HEADER_DEADLINE_MS, deadline_ms, MAX_DEADLINE_MS),
            _decided(headers.get(HEADER_DECIDED), tx),
            trace.decode("ascii") if trace else None,
        )
    except (ValueError, TypeError) as error:
        # msgspec's and UnicodeDecodeError are ValueErrors too
        raise InvalidEvent("header", "headers", f"a tollgate header does not parse: {error}") from error


_OURS = frozenset((HEADER_APPENDED_MS, HEADER_DEADLINE_MS, HEADER_DECIDED, _TRACE))


def _says_something(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether one of them means something here; producers may send what they like."""
    for header in headers:  # noqa: SIM110 - twice as fast as any()
        if header[0] in _OURS:
            return True
    return False


def _number(headers: dict[str, Any], name: str, default: int, most: int) -> int:
    """A header's count of milliseconds, between 0 and ``most``; anybody who may produce can send one."""
    if name not in headers:
        return default
    value = int(headers[name])
    if not 0 <= value <= most:
        raise ValueError(f"{name} is {value}, wanted is 0 to {most}")
    return value


def _decided(raw: bytes | None, tx: Transaction) -> EdgeDecision | None:
    """The edge's decision, which must be one, and this transaction's."""
    if raw is None:
        return None
    edge = decode_edge_decision(raw)
    decision = _decision_decoder.decode(edge.decision)
    if (decision.transaction_id, decision.card_id) != (tx.transaction_id, tx.card_id):
        raise ValueError("the decision that travels with it is another transaction's")
    if len(edge.vector) % 4:
        raise ValueError(f"the features that travel with it are {len(edge.vector)} bytes: no float32")
    return edge
