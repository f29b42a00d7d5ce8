"""What of a window can be compared with a reference of weeks: which columns, under which condition, and in which bins.

Left out on purpose:

- ``hour``, ``night``, ``weekday``, ``weekend``, ``card_hour_share``: a window of minutes has one hour and one weekday.
- counts, sums and means over windows, ``*_cards_*``, ``card_seconds_since_last``: they depend on the rate of traffic
  (scaled in a simulation, bursting in a backlog) and on how long the online state has been filling.
- ``*_fraud_rate_*``, ``card_frauds_30d``: labels are days late; they are watched on `outcomes`.
- ``log_amount``: a monotone function of ``amount``, so the test would be the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.attributes import PREFIX
from features.catalogue import INDEX
from models.bundle.attribute_columns import NO_COLUMNS, AttributeColumn, AttributeColumns
from models.bundle.reference import Reference
from models.drift.matching import same_times
from models.drift.statistics import Bins, Kind
from models.drift.window import Window

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

SCORE, DECISION = "score", "decision"
#: the median card age of a window must be at least this share of the reference's
MATURE_SHARE = 0.5
#: a card counts as known from this age on: before, the cards that come twice are mostly those of an attack
AGED_DAYS = 1.0
#: an attribute with at most so many texts is compared text by text
_FEW_TEXTS = 32
#: rows of the reference that a window is compared with
REFERENCE_ROWS = 2000


@dataclass(frozen=True)
class Comparable:
    """One column that is tested, and the state it needs.

    ``always``: depends only on the transaction. ``aged``: compared among cards that were known ``AGED_DAYS`` before; how many these
    are shows the age of the state, not a change of payments. ``mature``: only if the state is about as old as the reference's.
    """

    name: str
    kind: Kind
    since: Literal["always", "aged", "mature"]
    why: str


COMPARABLE = (
    Comparable("amount", "number", "always", "depends only on the transaction"),
    Comparable("round_amount", "category", "always", "depends only on the transaction"),
    Comparable("channel", "category", "always", "depends only on the transaction"),
    Comparable("mcc", "category", "always", "depends only on the transaction"),
    Comparable("currency_code", "category", "always", "depends only on the transaction"),
    Comparable("card_cross_border", "category", "aged", "the card's home country must have been seen"),
    Comparable(
        "card_amount_zscore_30d", "number", "mature", "without unit, but its spread shrinks as history grows"
    ),
    Comparable("card_new_device", "category", "mature", "to a young state every device is new"),
    Comparable(
        SCORE, "number", "mature", "the model reads all features, so its score needs the whole history"
    ),
    Comparable(DECISION, "category", "mature", "follows the score"),
)
#: fields of the transaction that a producer may leave empty
FIELDS = frozenset({"amount", "channel", "mcc", "currency_code"})
#: columns whose share of nulls is compared: those, and, in a mature state, what needs other fields
NULLS = (
    *((name, "always") for name in sorted(FIELDS)),
    *((name, "mature") for name in ("card_cross_border", "card_new_device", "card_speed_kmh", "card_home_distance_km")),
)  # fmt: skip
#: columns that a row must have: those that are tested, and those that decide which rows may be compared
NEEDED = frozenset(
    [column.name for column in COMPARABLE if column.name in INDEX]
    + [name for name, _ in NULLS]
    + ["hour", "weekend", "card_age_days"]
)


@dataclass(frozen=True)
class Baseline:
    """A bundle's reference with the bins of each column, which stay the same for all windows.

    ``own``: attributes of one's own, whose columns stand behind the catalogue's.
    """

    reference: Reference
    bins: dict[str, Bins]
    own: tuple[Comparable, ...] = ()

    @classmethod
    def of(cls, reference: Reference, attributes: AttributeColumns = NO_COLUMNS) -> Baseline:
        own = tuple(map(_of_attribute, attributes.columns))
        bins = {}
        for column in (*COMPARABLE, *own):
            values = _reference_column(reference, column.name)
            if values is not None:
                bins[column.name] = Bins.of(values[~np.isnan(values)], column.kind)
        return cls(reference, bins, own)


def _of_attribute(column: AttributeColumn) -> Comparable:
    """Few texts are compared as what they are, many as their log-odds, which order them."""
    few = column.type == "text" and len(column.encoding) <= _FEW_TEXTS
    return Comparable(
        PREFIX + column.name, "category" if few else "number", "always", "depends only on the transaction"
    )


@dataclass(frozen=True)
class Compared:
    """One column of both samples, known values only; of the window's also event time (ms) and card."""

    name: str
    takes: Literal["number", "category", "null"]
    bins: Bins
    before: Floats
    now: Floats
    now_ms: Ints
    cards: Ints


def compared(baseline: Baseline, window: Window) -> Iterator[Compared]:
    """The columns of a window and of the reference's rows of the same time of day, where the state is old enough."""
    rows = _matched(baseline.reference, window)
    mature = is_mature(baseline.reference.matrix, window.matrix)
    for column in (*COMPARABLE, *baseline.own):
        if column.name not in baseline.bins or (column.since == "mature" and not mature):
            continue
        before = _reference_column(baseline.reference, column.name)
        assert before is not None  # it has bins
        now, now_ms, cards = _window_column(window, column.name, baseline.reference)
        use_before, use_now = ~np.isnan(before[rows]), ~np.isnan(now)
        if column.since == "aged":
            use_before &= _is_aged(baseline.reference.matrix[rows])
            use_now &= _is_aged(window.matrix)
        yield Compared(
            column.name, column.kind, baseline.bins[column.name], before[rows][use_before], now[use_now],
            now_ms[use_now], cards[use_now],
        )  # fmt: skip
    for name, since in (*NULLS, *((column.name, "always") for column in baseline.own)):
        place = baseline.reference.place(name)
        before = baseline.reference.matrix[rows, place]
        # a bundle of an older catalogue knows nothing of the column
        if (since == "mature" and not mature) or np.isnan(baseline.reference.matrix[:, place]).all():
            continue
        now = window.matrix[:, place]
        yield Compared(
            name, "null", _PRESENT_OR_NULL, _is_null(before), _is_null(now), window.event_ms, window.cards
        )


def together(baseline: Baseline, window: Window) -> tuple[list[str], Matrix, Matrix]:
    """(names, reference's rows, window's rows) of the features that can be compared jointly, with NaN."""
    mature = is_mature(baseline.reference.matrix, window.matrix)
    names = [
        column.name for column in COMPARABLE
        if column.name in INDEX and column.name in baseline.bins and (mature or column.since == "always")
    ]  # fmt: skip
    places = [INDEX[name] for name in names]
    return (
        names,
        baseline.reference.matrix[_matched(baseline.reference, window)][:, places],
        window.matrix[:, places],
    )


def is_mature(reference: Matrix, window: Matrix) -> bool:
    """Whether the state behind the window is old enough to compare features of a card's history."""
    age = INDEX["card_age_days"]
    known, now = reference[:, age], window[:, age]
    known, now = known[~np.isnan(known)], np.nan_to_num(now)
    return len(known) > 0 and len(now) > 0 and bool(np.median(now) >= MATURE_SHARE * np.median(known))


_PRESENT_OR_NULL = Bins("category", np.array([0.0, 1.0]))


def _matched(reference: Reference, window: Window) -> Ints:
    hour, weekend = INDEX["hour"], INDEX["weekend"]
    return same_times(
        reference.matrix[:, hour], reference.matrix[:, weekend], window.matrix[:, hour], window.matrix[:, weekend],
        REFERENCE_ROWS, np.random.default_rng(int(window.event_ms[0])),
    )  # fmt: skip


def _reference_column(reference: Reference, name: str) -> Floats | None:
    if name == SCORE:
        return reference.scores
    if name == DECISION:
        return None if reference.decisions is None else reference.decisions.astype(np.float32)
    column = reference.matrix[:, reference.place(name)]
    return None if np.isnan(column).all() else column


def _window_column(window: Window, name: str, reference: Reference) -> tuple[Floats, Ints, Ints]:
    if name in (SCORE, DECISION):
        values = window.scores if name == SCORE else window.decisions.astype(np.float32)
        return values, window.decided_ms, window.decided_cards
    return window.matrix[:, reference.place(name)], window.event_ms, window.cards


def _is_aged(matrix: Matrix) -> npt.NDArray[np.bool_]:
    aged: npt.NDArray[np.bool_] = np.nan_to_num(matrix[:, INDEX["card_age_days"]]) >= AGED_DAYS
    return aged


def _is_null(column: Floats) -> Floats:
    return np.isnan(column).astype(np.float32)
