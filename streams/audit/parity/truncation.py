"""What of a vector a log that lost its beginning can no longer prove, column by column. Pure.

Retention takes the oldest records of a partition. Nothing that went happened later than a day after the first record that is left was
appended (``features.transaction.MAX_AHEAD_MS``), so what looks back no further than that must come out to the bit. What the
whole known history counts for (age, habits, first times) may be cut for everybody on such a partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES, WIDTH, Feature
from features.kernels.payer import BASE_BEHIND_MS
from features.profile.records import RECENT
from features.reach import reach_ms
from features.transaction import MAX_AHEAD_MS
from streams.log.topics import CLOCK_SLACK_MS

#: which profile columns are read from; of payers payments apart from frauds and declines
Source = Literal["card", "customer", "merchant", "device", "ip", "card frauds", "customer frauds"]
Columns = npt.NDArray[np.bool_]
PAYERS: tuple[Source, ...] = ("card", "customer")
_APART = ("_frauds_30d", "_declined_1h")


class Kept(NamedTuple):
    """What the log still holds of one profile, up to what was read of it: event times, int64 (n,).

    Nothing after ``cut_ms`` is missing; None: nothing is.
    """

    cut_ms: int | None
    event_ms: npt.NDArray[np.int64]


def cut_before(first_ms: int) -> int:
    """No record before one that was appended then tells of an event later than this; milliseconds."""
    return first_ms + MAX_AHEAD_MS + CLOCK_SLACK_MS


def source_of(feature: Feature) -> str:
    """The profile that an entry is read from; "transaction" for none."""
    return f"{feature.entity} frauds" if feature.name.endswith(_APART) else feature.entity


_SOURCES = np.array([source_of(feature) for feature in FEATURES])
_REACH_MS = np.array([reach_ms(feature) for feature in FEATURES], dtype=np.int64)
_SINCE_LAST = np.array([feature.name.endswith("_seconds_since_last") for feature in FEATURES])
_SPREADS = np.array(["_std_" in feature.name or "_zscore_" in feature.name for feature in FEATURES])


def cut_columns(event_ms: int, kept: Mapping[Source, Kept]) -> Columns:
    """Which columns of a payment's vector may be other than what the log gives now; bool (WIDTH,)."""
    out = np.zeros(WIDTH, dtype=np.bool_)
    for source, known in kept.items():
        if known.cut_ms is None:
            continue
        columns = np.flatnonzero(np.isin(_SOURCES, source))
        since = event_ms - np.minimum(_REACH_MS[columns], event_ms)
        before = known.event_ms[known.event_ms <= event_ms]
        if len(before):
            # the last one is there: what came before it does not count
            since[_SINCE_LAST[columns]] = before.max()
        cut = since <= known.cut_ms
        if source in PAYERS and len(known.event_ms):
            # of more payments than are kept whole some may stand in groups, with what is gone now; and a payer's time base
            # forgets what lies this far behind its newest one
            later = len(known.event_ms) - np.searchsorted(np.sort(known.event_ms), since)
            cut |= (later > RECENT) | (since <= known.event_ms.max() - BASE_BEHIND_MS)
        out[columns] = cut
    return out


def in_another_order(
    served: npt.NDArray[np.float32], row: npt.NDArray[np.float32], kept: Mapping[Source, Kept]
) -> Columns:
    """Spreads of payers whose beginning is gone, where they are neighbouring numbers of single precision; bool (WIDTH,).

    Which place among the newest a payment has, and so the order of their sum, follows from all that came before.
    """
    payers = [source for source in PAYERS if source in kept and kept[source].cut_ms is not None]
    apart = np.abs(served.view(np.int32).astype(np.int64) - row.view(np.int32).astype(np.int64))
    neighbours: Columns = _SPREADS & np.isin(_SOURCES, payers) & (apart <= 1)
    return neighbours
