"""The balance: which transactions there are, how each ended, and its latency. Pure: records in, sums out.

Identities are kept as 64-bit hashes, 25 bytes a transaction and 17 a decision. The probability that two of two million collide is
1e-7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from features.identity import DEFAULT_TENANT, identity_of
from streams.contracts.invalid_event import UNREADABLE
from streams.log import topics

STATUSES = ("scored", "degraded", "not_scored")
_STATUS_CODE = {status: code for code, status in enumerate(STATUSES)}
_PARTITION_SHIFT = 48
_NO_ID = b""

Ints = npt.NDArray[np.int64]


class _Identified(msgspec.Struct):
    transaction_id: str
    tenant: str = DEFAULT_TENANT


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
    that are not in the log. ``duplicated``: decisions after the first one of their transaction."""

    ingested: int
    scored: int
    degraded: int
    not_scored: int
    dead_lettered: int
    in_flight: int
    duplicated: int
    unknown: int
    #: milliseconds from the first append on `transactions` to the first append on `decisions`, one per decided transaction
    latency_ms: Ints

    @property
    def decided(self) -> int:
        return self.scored + self.degraded + self.not_scored

    @property
    def balanced(self) -> bool:
        return self.in_flight == 0 and self.duplicated == 0 and self.unknown == 0


class Accounts:
    """Takes records of `transactions`, `decisions` and `dead-letters` in any order.

    ``mine`` selects transactions by their record (default: all). A transaction whose id does not parse counts by its record
    until its dead letter is read.
    """

    def __init__(self, mine: Callable[[Any], bool] | None = None) -> None:
        self._mine = mine
        self._identified = msgspec.json.Decoder(_Identified)
        self._decision = msgspec.json.Decoder(_Decided)
        self._refused = msgspec.json.Decoder(_Refused)
        self._transactions: list[tuple[Ints, Ints, Ints]] = []
        self._decisions: list[tuple[Ints, Ints, npt.NDArray[np.int8]]] = []
        self._dead: set[int] = set()
        self.transactions = 0
        self.decisions = 0

    @property
    def dead_letters(self) -> int:
        """Refused records of `transactions`, each counted once."""
        return len(self._dead)

    def add(self, records: Sequence[Any]) -> None:
        """Add records (``confluent_kafka.Message``) of the three topics; records of other topics are ignored."""
        by_topic: dict[str, list[Any]] = {}
        for record in records:
            by_topic.setdefault(record.topic(), []).append(record)
        if found := by_topic.get(topics.TRANSACTIONS.name):
            self._add_transactions(found if self._mine is None else [r for r in found if self._mine(r)])
        if found := by_topic.get(topics.DECISIONS.name):
            self._add_decisions(found)
        if found := by_topic.get(topics.DEAD_LETTERS.name):
            self._add_dead_letters(found)

    def _add_transactions(self, records: list[Any]) -> None:
        keys = [(record.partition() << _PARTITION_SHIFT) | record.offset() for record in records]
        ids = [
            hash(self._id(record.value()) or ("record", key))
            for record, key in zip(records, keys, strict=True)
        ]
        times = [record.timestamp()[1] for record in records]
        self._transactions.append((_ints(ids), _ints(times), _ints(keys)))
        self.transactions += len(records)

    def _add_decisions(self, records: list[Any]) -> None:
        ids, times, codes = [], [], []
        for record in records:
            try:
                decided = self._decision.decode(record.value())
            except UNREADABLE:
                continue  # not a decision: its transaction stays in flight
            ids.append(hash(identity_of(decided.tenant, decided.transaction_id)))
            times.append(record.timestamp()[1])
            codes.append(_STATUS_CODE.get(decided.status, 2))
        self._decisions.append((_ints(ids), _ints(times), np.array(codes, dtype=np.int8)))
        self.decisions += len(ids)

    def _add_dead_letters(self, records: list[Any]) -> None:
        for record in records:
            try:
                refused = self._refused.decode(record.value())
            except UNREADABLE:
                continue
            if refused.source_topic == topics.TRANSACTIONS.name:
                self._dead.add((refused.source_partition << _PARTITION_SHIFT) | refused.source_offset)

    def _id(self, value: bytes | None) -> str | None:
        try:
            found = self._identified.decode(value or _NO_ID)
            return identity_of(found.tenant, found.transaction_id)
        except UNREADABLE:
            return None

    def balance(self) -> Balance:
        """The sums over all records added so far."""
        ids, times, keys = _stacked(self._transactions)
        decided_ids, decided_times, codes = _stacked(self._decisions)
        refused = np.isin(keys, np.fromiter(self._dead, np.int64, len(self._dead)))
        known, first_append = _first(ids[~refused], times[~refused])
        order = np.lexsort((decided_times, decided_ids))
        decided_ids, decided_times, codes = decided_ids[order], decided_times[order], codes[order]
        is_known = _contains(known, decided_ids)
        kept_ids, kept_times, kept_codes = decided_ids[is_known], decided_times[is_known], codes[is_known]
        is_first = np.ones(len(kept_ids), dtype=bool)
        is_first[1:] = kept_ids[1:] != kept_ids[:-1]
        latency = kept_times[is_first] - first_append[np.searchsorted(known, kept_ids[is_first])]
        by_status = np.bincount(kept_codes[is_first], minlength=3)
        dead = int(refused.sum())
        return Balance(
            ingested=len(known) + dead,
            scored=int(by_status[0]),
            degraded=int(by_status[1]),
            not_scored=int(by_status[2]),
            dead_lettered=dead,
            in_flight=len(known) - int(is_first.sum()),
            duplicated=int((~is_first).sum()),
            unknown=int((~is_known).sum()),
            latency_ms=latency,
        )


def _ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _stacked(parts: list[tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    if not parts:
        return _ints([]), _ints([]), _ints([])
    if len(parts) > 1:
        parts[:] = [tuple(np.concatenate(column) for column in zip(*parts, strict=True))]  # type: ignore[list-item]
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
