"""Who is a duplicate: what carries a source offset that was seen already. The one home of this rule (decision 1).

After a crash a stage produces some of its records again. Each carries the place on the source topic that it was made from, and
those of one source come in the order of their offsets. So the highest offset seen of a source tells: whatever is at or below
it is a duplicate, whatever is above it is new.

Not this rule: `outcomes`, where a crash may also bring a lower offset for the first time (``streams.archive.archived_sources``); what
labels say, where the newest statement holds (``streams.processor.entity_updates``); ids that producers send twice, which are known by
the card's own profile.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

import numpy as np

from streams.log.feature_batch import FeatureBatch

Source = TypeVar("Source", bound=Hashable)


class SourceOffsets(Generic[Source]):
    """The highest offset seen of each source; -1 where nothing was."""

    def __init__(self, highest: Mapping[Source, int] | None = None) -> None:
        self.highest: dict[Source, int] = dict(highest or {})

    def of(self, source: Source) -> int:
        """The highest offset seen."""
        return self.highest.get(source, -1)

    def take(self, source: Source, offset: int) -> bool:
        """See an offset; False: it is a duplicate."""
        if offset <= self.of(source):
            return False
        self.highest[source] = offset
        return True


def unseen(batch: FeatureBatch, seen: SourceOffsets[int]) -> FeatureBatch | None:
    """The rows of a batch that are no duplicates, seen from now on; None where all are. ``seen``: by partition."""
    first = int(np.searchsorted(batch.offsets, seen.of(batch.partition), side="right"))
    if first == len(batch):
        return None
    seen.highest[batch.partition] = int(batch.offsets[-1])
    return batch[first:] if first else batch
