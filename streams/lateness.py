"""Late events: how many, how late, and what they would have changed had they come in time. Pure: records in, sums out.

A payment that arrives after a younger one of its card is counted where it belongs from then on, but the decisions made
meanwhile did not know of it. Here a card's features are made again in the order of event time, as if nothing had been late,
and scored again with the same model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import LATE_BOUND_S, WIDTH
from features.columns import columns_of
from features.holder_kernel import APPLY, CARD_COLUMNS, CUSTOMER_COLUMNS, holder_features
from features.profiles import HOLDER, new_arena
from models.scorer import Scorer
from streams.layouts import Layouts, readable_rows
from streams.records import MISSING_CARD, FeatureRecord

#: records of cards with late events that are held at most: bounds memory, and is said when it is reached
MOST_RECORDS = 200_000


class LatePayment(NamedTuple):
    """A payment that came after a younger one of its card."""

    partition: int
    offset: int
    late_ms: int


@dataclass
class Lateness:
    """First pass: every features record that counts, in offset order per partition."""

    transactions: int = 0
    late: list[LatePayment] = field(default_factory=list)
    cards: set[str] = field(default_factory=set)
    _newest: dict[str, int] = field(default_factory=dict)
    _last: dict[int, int] = field(default_factory=dict)

    def add(self, record: FeatureRecord) -> bool:
        """Take a record in; False for a repetition (a source offset that came before)."""
        if record.offset <= self._last.get(record.partition, -1):
            return False
        self._last[record.partition] = record.offset
        self.transactions += 1
        card = record.transaction.card_id
        newest = self._newest.get(card, record.event_ms)
        if record.event_ms < newest:
            self.late.append(LatePayment(record.partition, record.offset, newest - record.event_ms))
            self.cards.add(card)
        self._newest[card] = max(newest, record.event_ms)
        return True

    def figures(self) -> dict[str, Any]:
        """Counts, and seconds of lateness; None where nothing was late."""
        seconds = np.array([payment.late_ms for payment in self.late]) / 1000
        by = {
            name: round(float(np.percentile(seconds, share)), 3) if len(seconds) else None
            for name, share in (("p50", 50), ("p99", 99), ("max", 100))
        }
        return {
            "transactions": self.transactions,
            "late": len(self.late),
            "beyond_bound": int((seconds > LATE_BOUND_S).sum()) if len(seconds) else 0,
            "bound_s": LATE_BOUND_S,
            "late_by_s": by,
        }


@dataclass(frozen=True)
class Hindsight:
    """What would have been otherwise, over the transactions of cards with late events."""

    compared: int
    features_changed: int
    decisions_changed: int


def in_hindsight(records: Sequence[FeatureRecord], scorer: Scorer, layouts: Layouts) -> Hindsight:
    """Score what was served and what would have been served had every payment of these cards come in order.

    Args:
        records: all records of some cards, repetitions left out, in offset order per partition. Those made with a
            catalogue that has not all that the model reads, or without the card's state, are not compared.
    """
    needed = np.zeros(WIDTH, bool)
    needed[scorer.columns] = True
    stateful = [r for r in records if not r.missing & MISSING_CARD]
    comparable, served, foreign = readable_rows(stateful, layouts, needed)
    if not comparable:
        return Hindsight(0, 0, 0)
    ideal = served.copy()
    places = {(r.partition, r.offset): i for i, r in enumerate(comparable)}
    own = slice(CARD_COLUMNS, CARD_COLUMNS + _holder_width())
    for record, row in zip(_in_event_order(records), _card_rows(records), strict=True):
        place = places.get((record.partition, record.offset))
        if place is not None:
            ideal[place, own] = row[own]
    for place, known in foreign.items():
        # what the catalogue of the time had not would not have been there in order either
        if known is not None:
            ideal[place, ~known] = np.nan
    both_nan = np.isnan(served) & np.isnan(ideal)
    changed = (served.view(np.uint32) != ideal.view(np.uint32)) & ~both_nan
    before, _ = scorer.decide(scorer.score(served), served)
    after, _ = scorer.decide(scorer.score(ideal), ideal)
    return Hindsight(len(comparable), int(changed.any(axis=1).sum()), int((before != after).sum()))


def _in_event_order(records: Iterable[FeatureRecord]) -> list[FeatureRecord]:
    return sorted(records, key=lambda r: (r.transaction.card_id, r.event_ms, r.partition, r.offset))


def _card_rows(records: Sequence[FeatureRecord]) -> npt.NDArray[np.float32]:
    """The cards' features with every payment in the order of event time, in that order."""
    ordered = _in_event_order(records)
    slots: dict[str, int] = {}
    places = np.array([slots.setdefault(r.transaction.card_id, len(slots)) for r in ordered], dtype=np.int64)
    n = len(ordered)
    payments = columns_of([r.transaction for r in ordered], [r.event_ms for r in ordered], [-1] * n)
    rows = np.full((n, WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(n, dtype=np.uint8)
    holder_features(payments, places, new_arena(HOLDER, len(slots)), APPLY, CARD_COLUMNS, rows, seen)
    return rows


def _holder_width() -> int:
    """Columns that come from the card's own payments: all but frauds and declines, which are another profile's."""
    return CUSTOMER_COLUMNS - CARD_COLUMNS - 2
