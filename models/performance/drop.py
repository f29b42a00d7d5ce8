"""Whether decisions have become worse: the newest matured week against the four weeks before it.

A drop is told of where its estimate exceeds ``LIMIT`` and its interval proves that there is one: 5 % of a figure, as the alert says.
The weeks before are of the same kind (live, with the same censoring), which a model's evaluation on its training data is not.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec
import numpy as np

from models.performance.decided import DecidedRows
from models.performance.ratio import Ratio, share
from models.training.dataset import DAY_MS

#: relative drop of a figure that pages
LIMIT = 0.05
CURRENT_MS, BEFORE_MS = 7 * DAY_MS, 28 * DAY_MS
#: frauds in each of the two spans without which nothing is said
MIN_FRAUDS = 100
_ALPHA = 0.05


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """``drop``: 1 - now / before, with an interval widened for the number of figures. ``down``: the page's condition."""

    figure: str
    before: float
    now: float
    drop: float
    low: float
    high: float
    down: bool


def drops(rows: DecidedRows) -> list[Drop]:
    """The drops of recall, precision and, by currency, of the share of fraud money that is stopped.

    Figures with fewer than ``MIN_FRAUDS`` frauds in one of the spans are left out.
    """
    rows = rows.take(rows.fraud | rows.honest)
    if not len(rows):
        return []
    end = int(rows.event_ms.max()) + 1
    now = rows.take(rows.event_ms >= end - CURRENT_MS)
    before = rows.take((rows.event_ms < end - CURRENT_MS) & (rows.event_ms >= end - CURRENT_MS - BEFORE_MS))
    pairs = [
        (name, new, old)
        for name, new, old in _figures(now, before)
        if new.estimate is not None and old.estimate and new.error is not None and old.error is not None
    ]
    z = NormalDist().inv_cdf(1 - _ALPHA / 2 / max(1, len(pairs)))
    return [_drop(name, new, old, z) for name, new, old in pairs]


def _figures(now: DecidedRows, before: DecidedRows) -> list[tuple[str, Ratio, Ratio]]:
    found: list[tuple[str, Ratio, Ratio]] = []
    if min(int(now.fraud.sum()), int(before.fraud.sum())) >= MIN_FRAUDS:
        found = [
            ("recall", _recall(now), _recall(before)),
            ("precision", _precision(now), _precision(before)),
        ]
    for currency in sorted(set(now.currency[now.fraud].tolist())):
        new, old = (side.take(side.fraud & (side.currency == currency)) for side in (now, before))
        if min(len(new), len(old)) >= MIN_FRAUDS:
            found.append((f"money_caught.{currency}", _money_caught(new), _money_caught(old)))
    return found


def _recall(rows: DecidedRows) -> Ratio:
    return share(rows.fraud & rows.stopped, rows.fraud, rows.card)


def _precision(rows: DecidedRows) -> Ratio:
    return share(rows.fraud & rows.stopped, rows.stopped, rows.card)


def _money_caught(frauds: DecidedRows) -> Ratio:
    return share(np.where(frauds.stopped, frauds.amount_minor, 0), frauds.amount_minor, frauds.card)


def _drop(figure: str, now: Ratio, before: Ratio, z: float) -> Drop:
    assert now.estimate is not None and before.estimate and now.error is not None and before.error is not None
    # half a row, so that a figure that fell to nothing has a logarithm
    new = max(now.estimate, 0.5 / now.n)
    log = math.log(new / before.estimate)
    spread = z * math.hypot(now.error / new, before.error / before.estimate)
    drop, low, high = 1 - math.exp(log), 1 - math.exp(log + spread), 1 - math.exp(log - spread)
    return Drop(
        figure=figure,
        before=before.estimate,
        now=now.estimate,
        drop=drop,
        low=low,
        high=high,
        down=drop > LIMIT and low > 0,
    )
