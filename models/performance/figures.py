"""Figures of live performance: of all decisions, and by model version, tenant and channel. Matured decisions only; never an estimate alone.

``precision`` is the share of frauds among the stopped payments (reviewed or declined) whose label is known, ``recall`` the share of
known frauds that were stopped. A payment that was declined and got no label is censored: nobody knows, so it is in neither.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from models.decision import DECISIONS
from models.performance.decided import DecidedRows
from models.performance.ratio import Ratio, odds_against, ratio, share
from models.training.label_states import LabelState

#: groups of one kind that are shown, those with most decisions; the others are one group
MAX_GROUPS = 20
OTHERS = "(others)"
UNKNOWN = "(unknown)"
KINDS = ("model_version", "tenant", "channel")


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """Of one currency, in its minor units: fraud that was stopped (``caught``) and not (``lost``), and the share that was stopped."""

    currency: str
    caught_minor: int
    lost_minor: int
    caught: Ratio
    honest_stopped_minor: int


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one group of decisions.

    ``labels``: rows by label state, of which ``not_matured`` are still open. ``label_coverage``: the share of matured decisions
    whose label was stated; the rest is silence. ``calibration``: frauds observed for each that the scores predict, on rows with a score
    and a known label. ``review_load``: the share of all decisions that people must look at.
    """

    kind: str
    group: str
    decisions: dict[str, int]
    matured: int
    open: int
    labels: dict[str, int]
    label_coverage: float | None
    precision: Ratio
    recall: Ratio
    calibration: Ratio
    false_alarms_per_fraud: Ratio
    review_load: Ratio
    money: list[Money]


def performance(rows: DecidedRows) -> list[Performance]:
    """Of all rows first, then by each of ``KINDS``, largest groups first."""
    found = [figures(rows, "all", "all")]
    for kind in KINDS:
        names = named_groups(getattr(rows, kind))
        for group in _largest(names):
            found.append(figures(rows.take(names == group), kind, group))
    return found


def named_groups(values: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """The group of each row (n,): the largest ``MAX_GROUPS`` by name, the rest as ``OTHERS``."""
    names = np.array([value if value else UNKNOWN for value in values.tolist()], dtype=object)
    largest = _largest(names)
    if len(largest) > MAX_GROUPS:
        names[~np.isin(names, largest[:MAX_GROUPS])] = OTHERS
    return names


def figures(rows: DecidedRows, kind: str, group: str) -> Performance:
    """The figures of these rows together."""
    known = rows.fraud | rows.honest
    stopped, card = rows.stopped, rows.card
    scored = known & np.isfinite(rows.score)
    precision = share(rows.fraud & stopped, known & stopped, card)
    counts = np.bincount(rows.state, minlength=len(LabelState))
    matured = int(rows.matured.sum())
    return Performance(
        kind=kind, group=group,
        decisions={name: int((rows.code == code).sum()) for code, name in enumerate(DECISIONS)},
        matured=matured, open=len(rows) - matured,
        labels={state.name.lower(): int(counts[state]) for state in LabelState},
        label_coverage=float(rows.stated[rows.matured].mean()) if matured else None,
        precision=precision,
        recall=share(rows.fraud & stopped, rows.fraud, card),
        calibration=ratio(rows.fraud[scored], rows.score[scored].astype(np.float64), card[scored], floor=0.5),
        false_alarms_per_fraud=odds_against(precision),
        review_load=share(rows.code == DECISIONS.index("review"), np.ones(len(rows), bool), card),
        money=[_money(rows, currency) for currency in sorted(set(rows.currency.tolist()))],
    )  # fmt: skip


def _money(rows: DecidedRows, currency: str) -> Money:
    inside = rows.currency == currency
    amount = np.where(inside, rows.amount_minor, 0)
    fraud, caught = np.where(rows.fraud, amount, 0), np.where(rows.fraud & rows.stopped, amount, 0)
    return Money(
        currency=currency, caught_minor=int(caught.sum()), lost_minor=int(fraud.sum() - caught.sum()),
        caught=share(caught, fraud, rows.card),
        honest_stopped_minor=int(amount[rows.honest & rows.stopped].sum()),
    )  # fmt: skip


def _largest(names: npt.NDArray[np.object_]) -> list[str]:
    found, counts = np.unique(names.astype(str), return_counts=True)
    return [str(name) for name in found[np.argsort(-counts, kind="stable")]]
