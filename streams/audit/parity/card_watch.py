"""Continuous parity check of cards: the features of some cards are computed again from the records alone and compared.

It is cheap enough to run always. It follows one card in ONE_IN by the hash of its id, at most MAX_CARDS, from the card's first
payment on, so that no payment is missed. It compares only entries of the card's own payments;
``streams.audit.parity.window`` compares all entities on fewer records, and `tollgate parity` checks any decision.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX, NAMES, WIDTH, columns_read_from
from features.kernels.columns import columns_of, text_hash
from features.kernels.payer import APPLY, CARD_COLUMNS, DUPLICATE, payer_features
from features.profile.records import PAYER, new_arena
from streams.audit.bits import differing
from streams.log.feature_batch import FeatureBatch, FeatureRecord
from streams.log.offsets.source_offsets import SourceOffsets, unseen
from streams.log.other_catalogues import Known, Layouts, own_block
from streams.log.records import MISSING_CARD
from streams.runtime.metrics import PARITY_COMPARED, PARITY_DIFFERENT

logger = logging.getLogger(__name__)

#: most cards followed (2 kB each), and one card in how many is followed
MAX_CARDS, ONE_IN = 1000, 64
#: most cards remembered as already seen; and how long the log is read before the first card is followed, ms
MAX_SEEN, SETTLE_MS = 200_000, 600_000
_COUNT, _SINCE, _AGE = INDEX["card_count_30d"], INDEX["card_seconds_since_last"], INDEX["card_age_days"]
_OWN = columns_read_from("card")
Row = npt.NDArray[np.float32]


class ParityWatch:
    """Follows cards through `features`, in offset order per partition; counts comparisons and differences."""

    def __init__(
        self,
        layouts: Layouts,
        max_cards: int = MAX_CARDS,
        one_in: int = ONE_IN,
        settle_ms: int = SETTLE_MS,
    ) -> None:
        self._layouts = layouts
        self._one_in = one_in
        self._settle_ms = settle_ms
        self._began_ms: int | None = None
        self._seen: set[int] = set()
        self._arena = new_arena(PAYER, max_cards)
        self._slots: dict[str, int] = {}
        self._seen_offsets: SourceOffsets[int] = SourceOffsets()

    def add(self, batches: Iterable[FeatureBatch]) -> int:
        """Compare the rows of batches; returns the number that differed."""
        different = 0
        for batch in batches:
            rows = unseen(batch, self._seen_offsets)
            sampled = rows and self._sampled(rows)
            if not sampled:
                continue
            vectors, known = own_block(sampled.catalogue, sampled.vectors, self._layouts)
            for record, served in zip(sampled.records(), vectors, strict=True):
                slot = self._slot(record, served)
                if slot is not None:
                    different += self._compare(record, slot, served, known)
        return different

    def _sampled(self, rows: FeatureBatch) -> FeatureBatch | None:
        """The rows of cards of the sample."""
        cards = rows.columns.card_id
        chosen = [row for row, card in enumerate(cards) if not text_hash(card) % self._one_in]
        return rows.take(chosen) if chosen else None

    def _slot(self, record: FeatureRecord, served: Row) -> int | None:
        """The slot of a followed card; a new card is followed from its first payment on."""
        card = record.transaction.card_id
        followed = self._slots.get(card)
        if followed is not None:
            return followed
        name = text_hash(card)
        if len(self._slots) >= len(self._arena) or len(self._seen) >= MAX_SEEN:
            return None
        if self._began_ms is None:
            self._began_ms = record.appended_ms
        # a late payment can look like a card's first one: cards seen before, or too soon after the start, are not followed
        fresh = name not in self._seen and record.appended_ms - self._began_ms >= self._settle_ms
        self._seen.add(name)
        if not fresh or record.missing & MISSING_CARD or record.decided:
            return None
        # unknown values are NaN, which this condition refuses
        if not (served[_COUNT] == 1 and np.isnan(served[_SINCE]) and served[_AGE] == 0):
            return None
        return self._slots.setdefault(card, len(self._slots))

    def _compare(self, record: FeatureRecord, slot: int, served: Row, known: Known | None) -> int:
        known_to = int(self._arena[slot]["offset"])
        payment = columns_of([record.transaction], [record.event_ms], [record.offset])
        row = np.full((1, WIDTH), np.nan, dtype=np.float32)
        seen = np.zeros(1, dtype=np.uint8)
        payer_features(payment, np.array([slot]), self._arena, APPLY, CARD_COLUMNS, row, seen)
        if known is None:
            # not comparable, but the payment now counts for the following ones
            return 0
        unlike = record.decided and record.as_of[0] != known_to
        if record.missing & MISSING_CARD or seen[0] == DUPLICATE or unlike:
            # computed without the card's state, or by the HTTP edge from an older or newer state than this
            return 0
        served, own = served[_OWN], row[0, _OWN]
        differs = differing(served, own) & known[_OWN]
        PARITY_COMPARED.inc()
        if not differs.any():
            return 0
        PARITY_DIFFERENT.inc()
        names = ", ".join(NAMES[column] for column in _OWN[differs][:5])
        logger.error(
            "parity: transactions[%d] offset %d was served with another %s than its log gives",
            record.partition, record.offset, names,
        )  # fmt: skip
        return 1
