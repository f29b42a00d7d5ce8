"""The books, sampled continuously: what became of the transactions of half a minute ago. Pure: records in, open transactions out.

At each look the first transactions of the previous look are taken, at most ``MOST`` a partition, and their outcomes read. What has none
stays open until one is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from streams.contracts.invalid_event import UNREADABLE
from streams.contracts.tenants import ANY_TENANT, Tenants
from streams.contracts.text.identifiers import identity_in
from streams.log import topics
from streams.log.records import HEADER_SOURCE_OFFSET, offset_in
from streams.runtime.dead_letters import decode_dead_letter
from streams.runtime.kafka.clients import headers_of

#: transactions without an outcome that are remembered; beyond that their number is enough
MOST_OPEN = 10_000


class SampledBooks:
    """Transactions that were looked at, by their name: the identity, or the place on the log where there is none to read."""

    def __init__(self, tenants: Tenants = ANY_TENANT) -> None:
        """``tenants``: for which of them a transaction counts."""
        self._tenants = tenants
        #: transactions without an outcome so far, and the place of each
        self.open: dict[str, str] = {}
        #: of this look: how often each of its transactions was decided
        self._decided: Counter[str] = Counter()
        self._looked_at: set[str] = set()
        #: what can never be right: reason and place of each decision, since the last ``faults``
        self._faults: list[tuple[str, str]] = []

    def begin_look(self, transactions: Iterable[Any]) -> None:
        """Begin a look with the transactions of the sample (``confluent_kafka.Message``)."""
        self._decided.clear()
        self._looked_at = set()
        for record in transactions:
            name, place = identity_in(record.value(), self._tenants), _place_of(record)
            self._looked_at.add(name or place)
            if len(self.open) < MOST_OPEN:
                self.open.setdefault(name or place, place)

    def add_decisions(self, records: Sequence[Any], ends: dict[int, int]) -> None:
        """Decisions in the order of the log; ``ends``: at which offset each partition of `transactions` ends now."""
        for record in records:
            name = identity_in(record.value())
            source = offset_in(dict(headers_of(record)).get(HEADER_SOURCE_OFFSET))
            if name is None or source is None or source >= ends.get(record.partition(), 0):
                self._faults.append(("unknown", _place_of(record)))
                continue
            self.open.pop(name, None)
            if name in self._looked_at:
                self._decided[name] += 1
                if self._decided[name] == 2:
                    self._faults.append(("duplicated", _place_of(record)))

    def add_dead_letters(self, records: Sequence[Any]) -> None:
        """Dead letters: of the very record, or of another of the same identity, as where a misplaced one was forwarded."""
        for record in records:
            try:
                letter = decode_dead_letter(record.value() or b"")
            except UNREADABLE:
                continue
            if letter.source_topic == topics.TRANSACTIONS.name:
                place = f"{letter.source_topic}/{letter.source_partition}/{letter.source_offset}"
                self.open.pop(identity_in(letter.original_bytes(), self._tenants) or place, None)
                self.open.pop(place, None)

    def decided_before(self, names: Iterable[str]) -> None:
        """Transactions that the decision index knows: sent again, or decided since."""
        for name in names:
            self.open.pop(name, None)

    def faults(self) -> list[tuple[str, str]]:
        """Kind (``unknown``, ``duplicated``) and place of decisions that should not be, since the last call."""
        found, self._faults = self._faults, []
        return found


def _place_of(record: Any) -> str:
    return f"{record.topic()}/{record.partition()}/{record.offset()}"
