"""Continuous parity check of all entities: every minute a few records are computed again from a snapshot of the store. Pure.

Merchants, devices and the like get payments from all cards, too many to follow or read back from the beginning. So the profiles
of some entities are read with their positions, and later records that name them are compared with what these profiles and the
entity updates since then give. The cost is bounded: every step has a maximum (``Most``).
"""

from __future__ import annotations

import logging
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from features.catalogue import FEATURES, NAMES
from features.store.partitions import entity_partition
from streams.audit.bits import differing
from streams.audit.parity.recompute import SOURCES_OF, Begin, Entity, Evidence, entities_of
from streams.log.feature_batch import FeatureBatch, FeatureRecord
from streams.log.other_catalogues import Layouts, aligned_rows
from streams.runtime.kafka.log_reader import LogRow
from streams.runtime.metrics import PARITY_COMPARED, PARITY_DIFFERENT, PARITY_ENTITIES

logger = logging.getLogger(__name__)


class Most(NamedTuple):
    """Bounds of one window."""

    #: records whose entities are followed; records looked at afterwards; records compared among these
    followed: int = 64
    looked: int = 4000
    compared: int = 64
    #: records read back per partition of `entities`
    items: int = 20_000
    every_s: float = 60.0
    open_s: float = 10.0


#: kinds of entities; "card" means a card's frauds and declines
KINDS = ("merchant", "device", "ip", "customer", "card")
#: (first offset, offset after the last) by partition of `entities`
Spans = dict[int, tuple[int, int]]
_SOURCES = np.array([feature.source for feature in FEATURES])


class ParityWindow:
    """Opens at an interval, looks at `features` while open, compares when it closes."""

    def __init__(
        self,
        layouts: Layouts,
        partitions: int,
        begin: Callable[[Sequence[FeatureRecord]], Begin | None],
        read: Callable[[Spans], Iterable[LogRow]],
        most: Most = Most(),  # noqa: B008 - a frozen value
        seed: int | None = None,
    ) -> None:
        """``begin`` reads the profiles of records' entities at one moment (None: no state now); ``read`` reads `entities`."""
        self._layouts, self._partitions, self._most = layouts, partitions, most
        self._begin, self._read = begin, read
        self._random = random.Random(seed)
        self._candidates: list[FeatureBatch] = []
        self._open: Begin | None = None
        self._due_s = self._until_s = 0.0
        self._looked = 0
        self._kept: list[FeatureRecord] = []
        self._offsets: dict[Entity, int] = {}
        self._kinds: Counter[str] = Counter()

    def offer(self, batches: Sequence[FeatureBatch]) -> None:
        """Offer batches of `features` as they arrive."""
        if self._open is None:
            if batches:
                self._candidates = self._some_of(batches)
            return
        for batch in batches:
            # rows above the limit cost nothing
            if len(self._kept) == self._most.compared or self._looked == self._most.looked:
                return
            for sample in batch[: self._most.looked - self._looked].records():
                self._looked += 1
                kinds = {entity for _, (entity, _), _ in self._followed(sample, self._open)}
                # the kinds share the room, else the few entities that everybody uses would fill it
                if any(self._kinds[kind] < self._most.compared / len(KINDS) for kind in kinds):
                    self._kinds.update(kinds)
                    self._kept.append(sample)
                    if len(self._kept) == self._most.compared:
                        return

    def _some_of(self, batches: Sequence[FeatureBatch]) -> list[FeatureBatch]:
        """Rows to be followed, each a batch."""
        ends = list(accumulate(map(len, batches)))
        places = self._random.sample(range(ends[-1]), min(self._most.followed, ends[-1]))
        found = []
        for place in places:
            which = bisect_right(ends, place)
            row = place - (ends[which] - len(batches[which]))
            found.append(batches[which][row : row + 1])
        return found

    def tick(self, now_s: float) -> int:
        """Open or close the window if due; returns the number of records that differed. Raises what ``begin`` and ``read`` raise."""
        if self._open is None:
            if now_s >= self._due_s and self._candidates:
                self._due_s, self._until_s = now_s + self._most.every_s, now_s + self._most.open_s
                self._follow([record for row in self._candidates for record in row.records()])
            return 0
        enough = self._looked == self._most.looked or len(self._kept) == self._most.compared
        if now_s < self._until_s and not enough:
            return 0
        begin, samples = self._open, self._kept
        self._open, self._kept, self._candidates = None, [], []
        return self._compare(begin, samples) if samples else 0

    def _follow(self, records: list[FeatureRecord]) -> None:
        self._looked = 0
        self._kinds.clear()
        self._open = self._begin(records) if records else None
        self._offsets = {}
        for (entity, _), profile in self._open.profiles.items() if self._open else ():
            # a customer's payments and frauds were read together: the newer offset is valid for both
            self._offsets[entity] = max(self._offsets.get(entity, -1), int(profile["offset"]))

    def _followed(self, sample: FeatureRecord, begin: Begin) -> list[tuple[int, Entity, int]]:
        """The entries of ``entities_of`` that are followed and whose offset lies within the records read."""
        out = []
        for slot, entity, as_of in entities_of(sample):
            known = self._offsets.get(entity)
            until = begin.positions.get(self._home(entity), 0) + self._most.items
            if known is not None and known <= as_of < until:
                out.append((slot, entity, as_of))
        return out

    def _compare(self, begin: Begin, samples: list[FeatureRecord]) -> int:
        followed = [self._followed(sample, begin) for sample in samples]
        spans: Spans = {}
        for _, entity, as_of in (one for some in followed for one in some):
            home = self._home(entity)
            first = begin.positions.get(home, 0)
            spans[home] = (first, max(spans.get(home, (0, first))[1], as_of + 1))
        evidence = Evidence(samples, self._partitions, begin)
        for row in self._read({p: span for p, span in spans.items() if span[1] > span[0]}):
            evidence.add_entities(row)
        rows = evidence.recompute(samples)
        vectors, knowns = aligned_rows(samples, self._layouts)
        different = 0
        for place, (sample, row, served, known) in enumerate(
            zip(samples, rows, vectors, knowns, strict=True)
        ):
            sure = [(slot, entity) for slot, entity, _ in followed[place] if entity not in evidence.unsure]
            sources = {source for slot, _ in sure for source in SOURCES_OF[slot]}
            if known is None or not sources:
                continue
            looked_at = known & np.isin(_SOURCES, ["transaction", *sources])
            differs = differing(served, row) & looked_at
            PARITY_COMPARED.inc()
            for _, (kind, _) in sure:
                PARITY_ENTITIES.labels(kind).inc()
            if differs.any():
                PARITY_DIFFERENT.inc()
                different += 1
                names = ", ".join(NAMES[column] for column in np.flatnonzero(differs)[:5])
                logger.error(
                    "parity: transactions[%d] offset %d was served with another %s than the state before it and `entities` give",
                    sample.partition, sample.offset, names,
                )  # fmt: skip
        return different

    def _home(self, entity: Entity) -> int:
        return entity_partition(*entity, self._partitions)
