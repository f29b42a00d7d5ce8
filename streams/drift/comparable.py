"""Which features a window of minutes can be compared by with a reference of weeks, and why the others cannot.

Left out, and not by oversight:

- ``hour``, ``night``, ``weekday``, ``weekend``, ``card_hour_share``: a window of minutes has one hour and one weekday.
- counts, sums and means over windows, ``*_cards_*``, ``card_seconds_since_last``: they follow the rate of traffic
  (scaled in a simulation, bursting in a backlog) and how long the online state has been filled.
- ``*_fraud_rate_*``, ``card_frauds_30d``: labels are days late; `outcomes` is where they are watched.
- ``log_amount``: a monotone function of ``amount``, the same test again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.catalogue import INDEX

Matrix = npt.NDArray[np.float32]
#: name of a column -> its values, NaN where unknown
Columns = dict[str, npt.NDArray[np.float32]]

SCORE = "score"
#: a window's cards must be known for at least this share of the time that the reference's cards were known
MATURE_SHARE = 0.5


@dataclass(frozen=True)
class Comparable:
    """One column that is tested, and since when it can be compared.

    ``always``: of the transaction alone. ``known``: among rows where it is known; how many those are says how old the
    state is, not how payments are. ``mature``: only once the state is about as old as the reference's.
    """

    name: str
    kind: Literal["number", "category"]
    since: Literal["always", "known", "mature"]
    why: str


COMPARABLE = (
    Comparable("amount", "number", "always", "of the transaction alone"),
    Comparable("round_amount", "category", "always", "of the transaction alone"),
    Comparable("channel", "category", "always", "of the transaction alone"),
    Comparable("mcc", "category", "always", "of the transaction alone"),
    Comparable(
        "card_cross_border", "category", "known", "one earlier payment of the card is enough to know it"
    ),
    Comparable(
        "card_amount_zscore_30d", "number", "mature", "free of unit, but its spread shrinks as history grows"
    ),
    Comparable("card_new_device", "category", "mature", "every device is new to a young state"),
    Comparable(
        SCORE, "number", "mature", "the model reads every feature, so its score needs the whole history"
    ),
)

KINDS = {column.name: column.kind for column in COMPARABLE}
SINCE = {column.name: column.since for column in COMPARABLE}


def is_mature(reference: Matrix, window: Matrix) -> bool:
    """Whether the window's cards have been known for long enough to compare what is remembered about them."""
    age = INDEX["card_age_days"]
    known, now = reference[:, age], window[:, age]
    known, now = known[~np.isnan(known)], np.nan_to_num(now)
    return len(known) > 0 and len(now) > 0 and bool(np.median(now) >= MATURE_SHARE * np.median(known))


def columns_of(matrix: Matrix, scores: npt.NDArray[np.float32], *, mature: bool) -> Columns:
    """The columns to be tested, of a matrix (rows, WIDTH) and of scores (any number of rows)."""
    wanted = [column for column in COMPARABLE if mature or column.since != "mature"]
    return {
        column.name: scores if column.name == SCORE else matrix[:, INDEX[column.name]] for column in wanted
    }
