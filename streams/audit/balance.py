"""The balance: which transactions there are, how each ended, and its latency. Pure: records in, sums out.

Identities are kept as 64-bit hashes, 25 bytes a transaction and 17 a decision. The probability that two of two million collide is
1e-7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from features.identity import DEFAULT_TENANT, identity_of
from streams.contracts.invalid_event import UNREADABLE
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.contracts.text.identifiers import identity_in
from streams.log import topics
from streams.log.books import parse_entry
from streams.log.forwarding import HEADER_FORWARDED
from streams.runtime.kafka.clients import headers_of

STATUSES = ("scored", "degraded", "not_scored")
_STATUS_CODE = {status: code for code, status in enumerate(STATUSES)}
_PARTITION_SHIFT = 48

Ints = npt.NDArray[np.int64]


class _Decided(msgspec.Struct):
    transaction_id: str
    status: str
    tenant: str = DEFAULT_TENANT


class _Refused(msgspec.Struct):
    source_topic: str
    source_partition: Annotated[int, Meta(ge=0, lt=2**15)]
    source_offset: Annotated[int, Meta(ge=0, lt=2**48)]


class Balance(msgspec.Struct, frozen=True):
    """``ingested`` = scored + degraded + not_scored + dead_lettered + in_flight. ``unknown``: decisions of transactions
    that are not in the log. ``duplicated``: decisions after the first one of their transaction. ``repeated``: records of
    `transactions` beside the first of their identity; they are not ingested again."""

    ingested: int
    scored: int
    degraded: int
    not_scored: int
    dead_lettered: int
    in_flight: int
    duplicated: int
    unknown: int
    repeated: int
    #: decisions struck from the books by a repair; in no other sum
    struck: int
    #: milliseconds from the first append on `transactions` to the first append on `decisions`, one per decided transaction
    latency_ms: Ints

    @property
    def decided(self) -> int:
        return self.scored + self.degraded + self.not_scored

    @property
    def balanced(self) -> bool:
        return self.in_flight == 0 and self.duplicated == 0 and self.unknown == 0


class _Live(NamedTuple):
    """Transactions that were not refused: identities, ascending, and the first append time of each; and the records counted."""

    ids: Ints
    first_append: Ints
    refused: int
    repeated: int


class Accounts:
    """Takes records of `transactions`, `decisions`, `dead-letters` and `books` in any order.

    ``mine`` selects transactions by their record (default: all); ``tenants``: for which of them each counts. A transaction whose id does not parse counts by its record
    until its dead letter is read.
    """

    def __init__(self, mine: Callable[[Any], bool] | None = None, tenants: Tenants = ANY_TENANT) -> None:
        self._mine, self._tenants = mine, tenants
        self._decision = msgspec.json.Decoder(_Decided)
        self._refused = msgspec.json.Decoder(_Refused)
        self._transactions: list[tuple[Ints, Ints, Ints]] = []
        self._decisions: list[tuple[Ints, Ints, npt.NDArray[np.int8], Ints]] = []
        self._struck: set[int] = set()
        self._settled: set[int] = set()
        self._dead: set[int] = set()
        #: of forwarded records: place of the copy, and of the record that was misplaced
        self._forwarded: dict[int, int] = {}
        self.transactions = 0
        self.decisions = 0

    @property
    def dead_letters(self) -> int:
        """Refused records of `transactions`, each counted once."""
        return len(self._dead)

    def add(self, records: Sequence[Any]) -> None:
        """Add records (``confluent_kafka.Message``) of the four topics; records of other topics are ignored."""
        by_topic: dict[str, list[Any]] = {}
        for record in records:
            by_topic.setdefault(record.topic(), []).append(record)
        if found := by_topic.get(topics.TRANSACTIONS.name):
            self._add_transactions(found if self._mine is None else [r for r in found if self._mine(r)])
        if found := by_topic.get(topics.DECISIONS.name):
            self._add_decisions(found)
        if found := by_topic.get(topics.DEAD_LETTERS.name):
            self._add_dead_letters(found)
        for record in by_topic.get(topics.BOOKS.name, ()):
            if entry := parse_entry(record.value()):
                self._struck.update(place_key(*place) for place in entry.struck)
                self._settled.update(place_key(*place) for place in entry.settled)

    def _add_transactions(self, records: list[Any]) -> None:
        keys = [place_key(record.partition(), record.offset()) for record in records]
        ids = [self.name_of(record) for record in records]
        for record, key in zip(records, keys, strict=True):
            if headers := headers_of(record):
                self._add_forwarded(key, dict(headers).get(HEADER_FORWARDED))
        times = [record.timestamp()[1] for record in records]
        self._transactions.append((_ints(ids), _ints(times), _ints(keys)))
        self.transactions += len(records)

    def _add_forwarded(self, copy: int, raw: bytes | None) -> None:
        partition, _, offset = (raw or b"").partition(b":")
        if partition.isdigit() and offset.isdigit() and len(partition) < 6 and len(offset) < 15:
            self._forwarded[copy] = int(partition) << _PARTITION_SHIFT | int(offset)

    def _add_decisions(self, records: list[Any]) -> None:
        ids, times, codes, keys = [], [], [], []
        for record in records:
            try:
                decided = self._decision.decode(record.value())
            except UNREADABLE:
                continue  # not a decision: its transaction stays in flight
            ids.append(hash(identity_of(decided.tenant, decided.transaction_id)))
            times.append(record.timestamp()[1])
            codes.append(_STATUS_CODE.get(decided.status, 2))
            keys.append(place_key(record.partition(), record.offset()))
        self._decisions.append((_ints(ids), _ints(times), np.array(codes, dtype=np.int8), _ints(keys)))
        self.decisions += len(ids)

    def _add_dead_letters(self, records: list[Any]) -> None:
        for record in records:
            try:
                refused = self._refused.decode(record.value())
            except UNREADABLE:
                continue
            if refused.source_topic == topics.TRANSACTIONS.name:
                self._dead.add(place_key(refused.source_partition, refused.source_offset))

    def balance(self) -> Balance:
        """The sums over all records added so far."""
        live = self._live()
        known, first_append = live.ids, live.first_append
        ledger = self._ledger()
        decided_ids, decided_times, codes, _ = ledger
        is_known = _contains(known, decided_ids)
        kept_ids, kept_times, kept_codes = decided_ids[is_known], decided_times[is_known], codes[is_known]
        is_first = np.ones(len(kept_ids), dtype=bool)
        is_first[1:] = kept_ids[1:] != kept_ids[:-1]
        latency = kept_times[is_first] - first_append[np.searchsorted(known, kept_ids[is_first])]
        by_status = np.bincount(kept_codes[is_first], minlength=3)
        return Balance(
            ingested=len(known) + live.refused,
            scored=int(by_status[0]),
            degraded=int(by_status[1]),
            not_scored=int(by_status[2]),
            dead_lettered=live.refused,
            in_flight=len(known) - int(is_first.sum()),
            duplicated=int((~is_first).sum()),
            unknown=int((~is_known).sum()),
            repeated=live.repeated,
            struck=self.decisions - len(decided_ids),
            latency_ms=latency,
        )

    def surplus(self) -> list[tuple[int, int]]:
        """Partition and offset of the decisions that are duplicated or unknown."""
        ids, _, _, keys = self._ledger()
        known = _contains(self._live().ids, ids)
        again = np.zeros(len(ids), dtype=bool)
        again[1:] = ids[1:] == ids[:-1]
        return [divmod(key, 1 << _PARTITION_SHIFT) for key in sorted(keys[again | ~known].tolist())]

    def _ledger(self) -> tuple[Ints, Ints, npt.NDArray[np.int8], Ints]:
        """Identity, append time, status and place of the decisions that count, by identity and time."""
        ids, times, codes, keys = _stacked(self._decisions, 4)
        counts = ~np.isin(keys, np.fromiter(self._struck, np.int64, len(self._struck)))
        order = np.lexsort((times, ids))
        order = order[counts[order]]
        return ids[order], times[order], codes[order], keys[order]

    def undecided(self) -> Ints:
        """The transactions in flight: ``hash`` of their ``identity``."""
        known = self._live().ids
        return known[~np.isin(known, self._ledger()[0])]

    def name_of(self, record: Any) -> int:
        """The hash by which a record of `transactions` is kept; of its place if its identity cannot be read."""
        key = place_key(record.partition(), record.offset())
        return hash(self.identity(record.value()) or ("record", key))

    def is_refused(self, record: Any) -> bool:
        """Whether a record of `transactions` has a dead letter."""
        return place_key(record.partition(), record.offset()) in self._dead

    def identity(self, value: bytes | None) -> str | None:
        """The identity of a record's transaction; None if it cannot be read."""
        return identity_in(value, self._tenants)

    def _live(self) -> _Live:
        ids, times, keys = _stacked(self._transactions)
        refused = np.isin(keys, np.fromiter(self._dead, np.int64, len(self._dead)))
        counted = ~(self._superseded(ids, keys) | np.isin(keys, _ints(list(self._settled))))
        known, first_append = _first(ids[~refused & counted], times[~refused & counted])
        if self._forwarded:
            # the first append of a forwarded record is that of the misplaced one
            first = dict(zip(*(column.tolist() for column in _first(ids, times)), strict=True))
            first_append = _ints([first[name] for name in known.tolist()])
        gone = int((refused & counted).sum())
        return _Live(known, first_append, gone, int((~refused & counted).sum()) - len(known))

    def _superseded(self, ids: Ints, keys: Ints) -> npt.NDArray[np.bool_]:
        """Which records were misplaced and forwarded: their copies count in their place. A copy must have the same identity."""
        out = np.zeros(len(keys), dtype=bool)
        if self._forwarded:
            row_of = {key: row for row, key in enumerate(keys.tolist())}
            for copy, origin in self._forwarded.items():
                row, at = row_of.get(origin), row_of.get(copy)
                if row is not None and at is not None and ids[row] == ids[at]:
                    out[row] = True
        return out


def _ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def place_key(partition: int, offset: int) -> int:
    """A record's place on its topic as one number."""
    return partition << _PARTITION_SHIFT | offset


def _stacked(parts: list[Any], columns: int = 3) -> Any:
    if not parts:
        return (_ints([]),) * columns
    if len(parts) > 1:
        parts[:] = [tuple(np.concatenate(column) for column in zip(*parts, strict=True))]
    return parts[0]


def _first(ids: Ints, times: Ints) -> tuple[Ints, Ints]:
    """Distinct ids, ascending, with the smallest time of each."""
    order = np.lexsort((times, ids))
    ids, times = ids[order], times[order]
    first = np.ones(len(ids), dtype=bool)
    first[1:] = ids[1:] != ids[:-1]
    return ids[first], times[first]


def _contains(ordered: Ints, wanted: Ints) -> npt.NDArray[np.bool_]:
    if len(ordered) == 0:
        return np.zeros(len(wanted), dtype=bool)
    place = np.searchsorted(ordered, wanted).clip(max=len(ordered) - 1)
    found: npt.NDArray[np.bool_] = ordered[place] == wanted
    return found
