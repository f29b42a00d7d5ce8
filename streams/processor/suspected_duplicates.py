"""Decides whether a payment that resembles an old one of its card is a duplicate, by a look-up in the decision index.

The index is written after the decisions. So a duplicate is decided twice if it comes before its first copy is indexed and after 40
newer payments of its card. A transaction that is not a duplicate always gets its decision.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from features.identity import identities_of
from features.kernels.payer import DUPLICATE, POSSIBLE
from features.store.redis_client import RespClient
from streams.log.decision_index import entries_in, lookups
from streams.processor.intake import Accepted
from streams.runtime.metrics import DECIDED_SUSPECTED_DUPLICATES

#: number of accepted ids that are kept until they are in the index, seconds later
REMEMBERED = 10_000


class SuspectedDuplicates:
    """Finds the duplicates of a chunk: certain ones, and suspected ones by look-up."""

    def __init__(self, client: RespClient, clock: Callable[[], float] = time.time) -> None:
        """``clock``: seconds since 1970."""
        self._client = client
        self._clock = clock
        # transaction_id -> partition and offset of the accepted record; the same record can come again after a crash elsewhere
        self._let_through: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def repeated(self, accepted: Accepted, seen: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """True for what is not to be decided (again), (n,): DUPLICATEs, and of POSSIBLEs those whose id is in the index, earlier
        in this chunk, or of another record that was let through before.

        One read of Redis, only if a row is POSSIBLE.

        Raises:
            StoreUnavailable: Redis did not come back in time, or answered with an error.
        """
        out: npt.NDArray[np.bool_] = seen == DUPLICATE
        rows = np.flatnonzero(seen == POSSIBLE).tolist()
        if not rows:
            return out
        ids = identities_of(accepted.columns.tenant, accepted.columns.transaction_id)
        first: dict[str, int] = {}
        for row, transaction_id in enumerate(ids):
            first.setdefault(transaction_id, row)
        now_s = self._clock()
        replies: list[Any] = self._client.with_retry([lookups([ids[row] for row in rows], now_s)])
        for row, entry in zip(rows, entries_in(replies, now_s), strict=True):
            place = accepted.partitions[row], accepted.offsets[row]
            known = entry is not None or first[ids[row]] != row
            if known or self._let_through.setdefault(ids[row], place) != place:
                out[row] = True
        while len(self._let_through) > REMEMBERED:
            self._let_through.popitem(last=False)
        DECIDED_SUSPECTED_DUPLICATES.inc(len(rows) - int(out[rows].sum()))
        return out
