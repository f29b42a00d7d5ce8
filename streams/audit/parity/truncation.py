"""Which columns of a vector cannot be proven from a log that has lost its beginning. Pure.

Retention deletes the oldest records of a partition. An event in a deleted record is at most a day later than the append of the
first record that is left (``features.transaction.MAX_AHEAD_MS``), so columns that look back no further must match to the bit.
Columns over the whole history (age, habits, first times) may differ for every entity on such a partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES, WIDTH, columns_read_from
from features.feature import Source
from features.kernels.payer import BASE_BEHIND_MS
from features.profile.records import RECENT
from features.transaction import MAX_AHEAD_MS
from streams.log.topics import CLOCK_SLACK_MS

Columns = npt.NDArray[np.bool_]
#: a look-back longer than any event time
_WITHOUT_LIMIT_MS = (1 << 62) - 1


class Kept(NamedTuple):
    """The event times of one profile that are still on the log, up to the offset read: int64 (n,), ms.

    Only events up to ``cut_ms`` may be missing; None: none is missing.
    """

    cut_ms: int | None
    event_ms: npt.NDArray[np.int64]


def cut_before(first_ms: int) -> int:
    """The latest event time of records before one appended at ``first_ms``; milliseconds."""
    return first_ms + MAX_AHEAD_MS + CLOCK_SLACK_MS


_SOURCES = np.array([feature.source for feature in FEATURES])
_RULES = np.array([feature.truncation for feature in FEATURES])
_LOOK_BACK_MS = np.array(
    [_WITHOUT_LIMIT_MS if f.look_back_s is None else 1000 * f.look_back_s for f in FEATURES], dtype=np.int64
)


def cut_columns(event_ms: int, kept: Mapping[Source, Kept]) -> Columns:
    """The columns of a payment's vector that may differ from what the log gives now; bool (WIDTH,)."""
    out = np.zeros(WIDTH, dtype=np.bool_)
    for source, known in kept.items():
        if known.cut_ms is None:
            continue
        columns = columns_read_from(source)
        rules = _RULES[columns]
        since = event_ms - np.minimum(_LOOK_BACK_MS[columns], event_ms)
        before = known.event_ms[known.event_ms <= event_ms]
        if len(before):
            # the previous event is still on the log: earlier ones do not matter
            since[rules == "last_payment"] = before.max()
        cut = since <= known.cut_ms
        if len(known.event_ms):
            # with more payments than are kept one by one, some are merged with payments now deleted; and a payer's time base
            # drops what is this far behind its newest payment
            later = len(known.event_ms) - np.searchsorted(np.sort(known.event_ms), since)
            lists = (later > RECENT) | (since <= known.event_ms.max() - BASE_BEHIND_MS)
            cut |= lists & (rules != "look_back")
        out[columns] = cut
    return out


def in_another_order(
    served: npt.NDArray[np.float32], row: npt.NDArray[np.float32], kept: Mapping[Source, Kept]
) -> Columns:
    """Standard deviations and z-scores of truncated payers that differ by one unit in the last place; bool (WIDTH,).

    The order in which recent payments are summed depends on all earlier payments, some of which are gone.
    """
    cut = [source for source, known in kept.items() if known.cut_ms is not None]
    apart = np.abs(served.view(np.int32).astype(np.int64) - row.view(np.int32).astype(np.int64))
    neighbours: Columns = (_RULES == "spread") & np.isin(_SOURCES, cut) & (apart <= 1)
    return neighbours
