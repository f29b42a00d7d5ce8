"""Late events: how many, how late, and which decisions they would have changed if in time. Pure: records in, sums out.

A payment that arrives after a newer one of its card counts from its arrival on, but decisions made before that did not
include it. Here the features of such cards are computed twice from the same records, starting from empty profiles: once in
the order of arrival and once in the order of event time. Both are scored with the same model. Records that the log no longer
holds are missing on both sides, so only the order makes a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import LATE_BOUND_S, NAMES, WIDTH, columns_read_from
from features.kernels.columns import columns_of
from features.kernels.payer import APPLY, CARD_COLUMNS, payer_features
from features.profile.records import PAYER, new_arena
from models.bundle.attribute_columns import SentAttributes
from models.scoring.scorer import Scorer
from streams.audit.bits import differing
from streams.log.feature_batch import FeatureBatch, FeatureRecord
from streams.log.offsets.source_offsets import SourceOffsets, unseen
from streams.log.other_catalogues import Layouts, aligned_rows, has_all
from streams.log.records import MISSING_CARD

#: most records of cards with late events held in memory; reaching it is reported
MAX_RECORDS = 200_000
_OWN = columns_read_from("card")
#: the entries computed again; all others keep the values that were served
RECOMPUTED = tuple(NAMES[column] for column in _OWN)


class LatePayment(NamedTuple):
    """A payment that arrived after a newer one of its card."""

    partition: int
    offset: int
    late_ms: int


@dataclass
class Lateness:
    """The first pass over all rows of features, in offset order per partition; duplicates are skipped."""

    transactions: int = 0
    late: list[LatePayment] = field(default_factory=list)
    cards: set[str] = field(default_factory=set)
    _newest: dict[str, int] = field(default_factory=dict)
    _offsets: SourceOffsets[int] = field(default_factory=SourceOffsets)

    def add(self, batch: FeatureBatch) -> FeatureBatch | None:
        """Add a batch; returns its rows without duplicates, None if all are duplicates."""
        rows = unseen(batch, self._offsets)
        if rows is None:
            return None
        self.transactions += len(rows)
        for card, offset, event_ms in zip(
            rows.columns.card_id, rows.columns.offset, rows.event_ms, strict=True
        ):
            newest = self._newest.get(card, event_ms)
            if event_ms < newest:
                self.late.append(LatePayment(rows.partition, offset, newest - event_ms))
                self.cards.add(card)
            self._newest[card] = max(newest, event_ms)
        return rows

    def figures(self) -> dict[str, Any]:
        """Counts, and lateness in seconds; None if no payment was late."""
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
    """What would have been different, over the transactions of cards with late events."""

    compared: int
    features_changed: int
    decisions_changed: int


def in_hindsight(records: Sequence[FeatureRecord], scorer: Scorer, layouts: Layouts) -> Hindsight:
    """Score the payments of some cards twice: in the order of arrival, and in the order of event time.

    Args:
        records: all records of some cards, or the first of them, without repetitions, in offset order per partition. Records
            made without the card's state, or with a catalogue that lacks a column that the model reads, are not compared.
    """
    needed = np.zeros(WIDTH, bool)
    needed[scorer.columns] = True
    stateful = [r for r in records if not r.missing & MISSING_CARD]
    vectors, knowns = aligned_rows(stateful, layouts)
    kept = [place for place, known in enumerate(knowns) if has_all(known, needed)]
    if not kept:
        return Hindsight(0, 0, 0)
    comparable, served, knowns = [stateful[k] for k in kept], vectors[kept], [knowns[k] for k in kept]
    places = {(r.partition, r.offset): place for place, r in enumerate(comparable)}
    rows = {}
    for order, ordered in (("came", list(records)), ("ideal", sorted(records, key=lambda r: r.event_ms))):
        made = served.copy()
        for record, row in zip(ordered, _card_rows(ordered), strict=True):
            place = places.get((record.partition, record.offset))
            if place is not None:
                made[place, _OWN] = row[_OWN]
        for place, known in enumerate(knowns):
            # columns that the catalogue of the time lacked stay unknown in both orders
            if known is not None:
                made[place, ~known] = np.nan
        rows[order] = made
    changed = differing(rows["came"], rows["ideal"])
    sent = SentAttributes([record.transaction.attributes for record in comparable])
    came, ideal = (scorer.with_attributes(rows[order], sent) for order in ("came", "ideal"))
    before, _ = scorer.decide(scorer.score(came), came)
    after, _ = scorer.decide(scorer.score(ideal), ideal)
    return Hindsight(len(comparable), int(changed.any(axis=1).sum()), int((before != after).sum()))


def _card_rows(ordered: Sequence[FeatureRecord]) -> npt.NDArray[np.float32]:
    """The cards' features, starting from empty profiles; float32 (n, WIDTH), NaN in all other columns."""
    slots: dict[str, int] = {}
    places = np.array([slots.setdefault(r.transaction.card_id, len(slots)) for r in ordered], dtype=np.int64)
    n = len(ordered)
    payments = columns_of([r.transaction for r in ordered], [r.event_ms for r in ordered], [-1] * n)
    rows = np.full((n, WIDTH), np.nan, dtype=np.float32)
    seen = np.zeros(n, dtype=np.uint8)
    payer_features(payments, places, new_arena(PAYER, len(slots)), APPLY, CARD_COLUMNS, rows, seen)
    return rows
