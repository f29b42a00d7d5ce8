"""What a chunk of `transactions` holds: accepted, refused, and placed on another partition than its card's. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.store.partitions import partitions_of
from features.transaction import MAX_AHEAD_MS, Transaction, TransactionColumns, epochs_ms, transaction_columns
from streams.contracts.invalid_event import InvalidEvent, check_not_ahead
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.contracts.transaction_parsing import (
    admitted,
    parse_together,
    parse_transaction,
    to_admit,
    unknown_fields,
)
from streams.log.edge_decision import EdgeDecision
from streams.log.seal import NO_KEYS, Keys
from streams.processor.record_headers import NotBelieved, read_headers, say_something

Int64s = npt.NDArray[np.int64]


class AcceptedRow(NamedTuple):
    """One transaction that fits, on its card's partition."""

    transaction: Transaction
    event_ms: int
    partition: int
    offset: int
    appended_ms: int
    deadline_ms: int
    decided: EdgeDecision | None
    trace: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """n transactions that fit, on their cards' partitions, as columns; times in ms."""

    transactions: Sequence[Transaction]
    columns: TransactionColumns
    #: int64 (n,)
    event_ms: Int64s
    partitions: Sequence[int]
    offsets: Sequence[int]
    appended_ms: Sequence[int]
    deadline_ms: Sequence[int]
    #: None: of no row
    decided: Sequence[EdgeDecision | None] | None = None
    traces: Sequence[str | None] | None = None
    #: partition and offset of the refused record that was sent again; None: of no row
    replays: Sequence[tuple[int, int] | None] | None = None

    def __len__(self) -> int:
        return len(self.transactions)

    def take(self, rows: Sequence[int]) -> Accepted:
        """The rows at some places."""

        def picked(column: Sequence[Any]) -> list[Any]:
            return [column[row] for row in rows]

        return Accepted(
            picked(self.transactions), TransactionColumns(*map(picked, self.columns)), self.event_ms[np.array(rows, dtype=np.int64)],
            picked(self.partitions), picked(self.offsets), picked(self.appended_ms), picked(self.deadline_ms),
            self.decided and picked(self.decided), self.traces and picked(self.traces),
            self.replays and picked(self.replays),
        )  # fmt: skip

    def rows(self) -> list[AcceptedRow]:
        """The rows one by one."""
        none = [None] * len(self)
        columns = (
            self.transactions, self.event_ms.tolist(), self.partitions, self.offsets, self.appended_ms, self.deadline_ms,
            self.decided or none, self.traces or none,
        )  # fmt: skip
        return list(map(AcceptedRow, *columns))


class Misplaced(NamedTuple):
    """One transaction that fits, found on another partition than its card's."""

    record: Any
    card_id: str
    partition: int


@dataclass
class Intake:
    """One chunk, sorted out."""

    accepted: Accepted
    refused: list[tuple[Any, InvalidEvent]]
    misplaced: list[Misplaced]
    unknown_fields: int = 0
    undeclared_attributes: int = 0
    not_believed: NotBelieved = field(default_factory=NotBelieved)


def sort_out(
    records: Sequence[Any],
    partitions: int,
    default_deadline_ms: int,
    keys: Keys = NO_KEYS,
    tenants: Tenants = ANY_TENANT,
) -> Intake:
    """Parse every record and say what becomes of it.

    Args:
        records: with ``partition, offset, timestamp (ms), value, headers``.
        partitions: partition count of `transactions`.
        default_deadline_ms: for records that carry none.
        keys: of the seals that are believed. Which records are accepted does not depend on them.
        tenants: whose transactions are accepted.
    """
    parsed = _admitted(_parsed(records), tenants)
    records, columns = parsed.records, transaction_columns(parsed.transactions)
    event_ms = epochs_ms(columns.event_time)
    lies_on, appended_ms = [r.partition for r in records], [r.timestamp for r in records]
    headers = [r.headers for r in records]
    ahead = (event_ms > np.array(appended_ms, dtype=np.int64) + MAX_AHEAD_MS).nonzero()[0]
    whole = Accepted(
        parsed.transactions, columns, event_ms, lies_on, [r.offset for r in records], appended_ms,
        [default_deadline_ms] * len(records),
    )  # fmt: skip
    homes = partitions_of(columns.card_id, partitions).tolist()
    if homes == lies_on and not any(headers) and not len(ahead):
        # as nearly all are: a closer look is for the others
        return Intake(whole, parsed.refused, [], parsed.unknown_fields, parsed.undeclared)
    keep = [home == partition for home, partition in zip(homes, lies_on, strict=True)]
    misplaced = [
        Misplaced(records[i], columns.card_id[i], homes[i]) for i, here in enumerate(keep) if not here
    ]
    _refuse_ahead(whole, records, keep, ahead.tolist(), parsed.refused)
    not_believed = NotBelieved()
    rows = [i for i, kept in enumerate(keep) if kept and headers[i] and say_something(headers[i])]
    if rows:
        whole = _with_headers(whole, records, rows, keys, not_believed)
    if not all(keep):
        whole = whole.take([i for i, kept in enumerate(keep) if kept])
    return Intake(whole, parsed.refused, misplaced, parsed.unknown_fields, parsed.undeclared, not_believed)


def _refuse_ahead(
    whole: Accepted,
    records: Sequence[Any],
    keep: list[bool],
    ahead: Sequence[int],
    refused: list[tuple[Any, InvalidEvent]],
) -> None:
    """Refuse the rows ``ahead`` of the broker's clock: they leave ``keep`` (n,). Those of another partition are refused there."""
    for i in ahead:
        if not keep[i]:
            continue
        try:
            check_not_ahead(int(whole.event_ms[i]), whole.appended_ms[i])
        except InvalidEvent as error:
            refused.append((records[i], error))
            keep[i] = False


def _with_headers(
    whole: Accepted, records: Sequence[Any], rows: Sequence[int], keys: Keys, out: NotBelieved
) -> Accepted:
    """With what the headers of ``rows`` say."""
    appended_ms, deadline_ms = list(whole.appended_ms), list(whole.deadline_ms)
    decided: list[EdgeDecision | None] = [None] * len(whole)
    traces: list[str | None] = [None] * len(whole)
    replays: list[tuple[int, int] | None] = [None] * len(whole)
    for i in rows:
        appended_ms[i], deadline_ms[i], decided[i], traces[i], replays[i] = read_headers(
            records[i], whole.transactions[i], deadline_ms[i], keys, out
        )
    return replace(
        whole,
        appended_ms=appended_ms,
        deadline_ms=deadline_ms,
        decided=decided if any(decided) else None,
        traces=traces if any(traces) else None,
        replays=replays if any(replays) else None,
    )


class _Parsed(NamedTuple):
    """Records with their transactions, and those that hold none."""

    records: Sequence[Any]
    transactions: list[Transaction]
    refused: list[tuple[Any, InvalidEvent]]
    unknown_fields: int
    #: attributes that settings do not declare for their tenant
    undeclared: int = 0


def _parsed(records: Sequence[Any]) -> _Parsed:
    together = parse_together([record.value for record in records])
    if together is not None:
        found = together.transactions
        if together.plain:
            return _Parsed(records, found, [], 0)
        # the exact look may refuse what the typed one passed over, such as a depth that is just too much for it
        with contextlib.suppress(InvalidEvent):
            unknown = sum(
                len(unknown_fields(record.value, tx)) for record, tx in zip(records, found, strict=True)
            )
            return _Parsed(records, found, [], unknown)
    fit, transactions, refused, unknown = [], [], [], 0
    for record in records:
        try:
            tx = parse_transaction(record.value)
            unknown += len(unknown_fields(record.value, tx))
        except InvalidEvent as error:
            refused.append((record, error))
            continue
        fit.append(record)
        transactions.append(tx)
    return _Parsed(fit, transactions, refused, unknown)


def _admitted(parsed: _Parsed, tenants: Tenants) -> _Parsed:
    """Those of known tenants, with their attributes; of unknown tenants as the registry says."""
    rows = to_admit(parsed.transactions, tenants)
    if not rows:
        return parsed
    transactions, refused, undeclared = list(parsed.transactions), list(parsed.refused), 0
    fit = [True] * len(transactions)
    for row in rows:
        try:
            transactions[row], ignored = admitted(transactions[row], tenants)
        except InvalidEvent as error:
            refused.append((parsed.records[row], error))
            fit[row] = False
        else:
            undeclared += ignored
    kept, accepted = list(compress(parsed.records, fit)), list(compress(transactions, fit))
    return _Parsed(kept, accepted, refused, parsed.unknown_fields, undeclared)


class Stretch(NamedTuple):
    """Records of one partition of `transactions` in offset order, a column for each thing that they hold; times in ms."""

    partition: int
    offsets: Sequence[int]
    appended_ms: Sequence[int]
    values: Sequence[bytes | None]


def accepted_only(
    stretch: Stretch, partitions: int, tenants: Tenants = ANY_TENANT
) -> tuple[list[Transaction], Int64s, Int64s]:
    """What ``sort_out`` accepts, without all else that it finds out: transactions, event times (ms), offsets. For rebuilds."""
    rows, parsed = _together_or_apart(stretch.values)
    known = _admitted(_Parsed(rows, parsed, [], 0), tenants)
    rows, parsed = list(known.records), known.transactions
    where = np.array(rows, dtype=np.int64)
    homes = partitions_of([tx.card_id for tx in parsed], partitions)
    event_ms = epochs_ms([tx.event_time for tx in parsed])
    keep = homes == stretch.partition
    keep &= event_ms <= np.array(stretch.appended_ms, dtype=np.int64)[where] + MAX_AHEAD_MS
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
