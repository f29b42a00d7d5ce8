"""The features for which a window of minutes can be compared with a reference of weeks.

Left out on purpose:

- ``hour``, ``night``, ``weekday``, ``weekend``, ``card_hour_share``: a window of minutes has one hour and one weekday.
- counts, sums and means over windows, ``*_cards_*``, ``card_seconds_since_last``: they depend on the rate of traffic
  (scaled in a simulation, bursting in a backlog) and on how long the online state has been filling.
- ``*_fraud_rate_*``, ``card_frauds_30d``: labels are days late; they are watched on `outcomes`.
- ``log_amount``: a monotone function of ``amount``, so the test would be the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX

Matrix = npt.NDArray[np.float32]
#: column name -> values, NaN where unknown
Columns = dict[str, npt.NDArray[np.float32]]

SCORE = "score"
#: the median card age of a window must be at least this share of the reference's
MATURE_SHARE = 0.5


@dataclass(frozen=True)
class Comparable:
    """One column that is tested, and the state it needs.

    ``always``: depends only on the transaction. ``known``: compared among rows where it is known; the number of such rows shows
    the age of the state, not a change of payments. ``mature``: only if the state is about as old as the reference's.
    """

    name: str
    kind: Literal["number", "category"]
    since: Literal["always", "known", "mature"]
    why: str


COMPARABLE = (
    Comparable("amount", "number", "always", "depends only on the transaction"),
    Comparable("round_amount", "category", "always", "depends only on the transaction"),
    Comparable("channel", "category", "always", "depends only on the transaction"),
    Comparable("mcc", "category", "always", "depends only on the transaction"),
    Comparable("card_cross_border", "category", "known", "one earlier payment of the card is enough"),
    Comparable(
        "card_amount_zscore_30d", "number", "mature", "without unit, but its spread shrinks as history grows"
    ),
    Comparable("card_new_device", "category", "mature", "to a young state every device is new"),
    Comparable(
        SCORE, "number", "mature", "the model reads all features, so its score needs the whole history"
    ),
)

KINDS = {column.name: column.kind for column in COMPARABLE}
SINCE = {column.name: column.since for column in COMPARABLE}


def is_mature(reference: Matrix, window: Matrix) -> bool:
    """Whether the state behind the window is old enough to compare features of a card's history."""
    age = INDEX["card_age_days"]
    known, now = reference[:, age], window[:, age]
    known, now = known[~np.isnan(known)], np.nan_to_num(now)
    return len(known) > 0 and len(now) > 0 and bool(np.median(now) >= MATURE_SHARE * np.median(known))


def columns_of(matrix: Matrix, scores: npt.NDArray[np.float32], *, mature: bool) -> Columns:
    """The columns to test, from a matrix (rows, WIDTH) and scores (any number of rows)."""
    wanted = [column for column in COMPARABLE if mature or column.since != "mature"]
    return {
        column.name: scores if column.name == SCORE else matrix[:, INDEX[column.name]] for column in wanted
    }
