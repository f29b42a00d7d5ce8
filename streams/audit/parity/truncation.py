"""What of a vector a log that lost its beginning can no longer prove, column by column. Pure.

Retention takes the oldest records of a partition. Nothing that went happened later than a day after the first record that is left was
appended (``features.transaction.MAX_AHEAD_MS``), so what looks back no further than that must come out to the bit. What the
whole known history counts for (age, habits, first times) may be cut for everybody on such a partition.
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
#: looks back further than any event time
_WITHOUT_LIMIT_MS = (1 << 62) - 1


class Kept(NamedTuple):
    """What the log still holds of one profile, up to what was read of it: event times, int64 (n,).

    Nothing after ``cut_ms`` is missing; None: nothing is.
    """

    cut_ms: int | None
    event_ms: npt.NDArray[np.int64]


def cut_before(first_ms: int) -> int:
    """No record before one that was appended then tells of an event later than this; milliseconds."""
    return first_ms + MAX_AHEAD_MS + CLOCK_SLACK_MS


_SOURCES = np.array([feature.source for feature in FEATURES])
_RULES = np.array([feature.truncation for feature in FEATURES])
_LOOK_BACK_MS = np.array(
    [_WITHOUT_LIMIT_MS if f.look_back_s is None else 1000 * f.look_back_s for f in FEATURES], dtype=np.int64
)


def cut_columns(event_ms: int, kept: Mapping[Source, Kept]) -> Columns:
    """Which columns of a payment's vector may be other than what the log gives now; bool (WIDTH,)."""
    out = np.zeros(WIDTH, dtype=np.bool_)
    for source, known in kept.items():
        if known.cut_ms is None:
            continue
        columns = columns_read_from(source)
        rules = _RULES[columns]
        since = event_ms - np.minimum(_LOOK_BACK_MS[columns], event_ms)
        before = known.event_ms[known.event_ms <= event_ms]
        if len(before):
            # the last one is there: what came before it does not count
            since[rules == "last_payment"] = before.max()
        cut = since <= known.cut_ms
        if len(known.event_ms):
            # of more payments than are kept whole some may stand in groups, with what is gone now; and a payer's time base
            # forgets what lies this far behind its newest one
            later = len(known.event_ms) - np.searchsorted(np.sort(known.event_ms), since)
            lists = (later > RECENT) | (since <= known.event_ms.max() - BASE_BEHIND_MS)
            cut |= lists & (rules != "look_back")
        out[columns] = cut
    return out


def in_another_order(
    served: npt.NDArray[np.float32], row: npt.NDArray[np.float32], kept: Mapping[Source, Kept]
) -> Columns:
    """Spreads of payers whose beginning is gone, where they are neighbouring numbers of single precision; bool (WIDTH,).

    Which place among the newest a payment has, and so the order of their sum, follows from all that came before.
    """
    cut = [source for source, known in kept.items() if known.cut_ms is not None]
    apart = np.abs(served.view(np.int32).astype(np.int64) - row.view(np.int32).astype(np.int64))
    neighbours: Columns = (_RULES == "spread") & np.isin(_SOURCES, cut) & (apart <= 1)
    return neighbours
