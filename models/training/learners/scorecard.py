"""A scorecard: logistic regression on binned features, the floor that every other model must beat.

Each feature's bins get the weight of their evidence (log-odds of fraud in the bin, less those of all rows), and a regression on
these weighs the features; unknown values are a bin of their own. A feature's share of the score is a step function, which is a tree, so
the scorecard is an additive model too. Source: Siddiqi 2006, "Credit Risk Scorecards", chapter 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.training.dataset import Dataset
from models.training.learners.additive import Additive, Tree
from models.training.learners.parameters import Parameters

#: bins of known values: a tree of depth 3, below the node that separates unknown ones
BINS = 8
#: rows of average fraud that each bin is given, so that small bins say little
PRIOR_ROWS = 200.0
#: inverse of the ridge penalty on standardised evidence
RIDGE = 0.01
_HUGE = np.float32(np.finfo(np.float32).max)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Bins:
    """``edges``: float32, ascending; a value below ``edges[0]`` is in bin 0. ``evidence``: of each bin, then of unknown values. ``rows``: weight of each."""

    edges: npt.NDArray[np.float32]
    evidence: Floats
    rows: Floats


def fit_scorecard(data: Dataset, parameters: Parameters) -> Additive:
    """Fit to the rows of ``data`` with their weights."""
    weight = data.weights.astype(np.float64)
    rate = float((weight * data.fraud).sum() / weight.sum())
    bins: list[_Bins] = []
    columns: list[Floats] = []
    for column in data.matrix.T:
        made, places = _binned(column, data.fraud, weight, rate)
        bins.append(made)
        columns.append(made.evidence[places])
    evidence = np.column_stack(columns)
    spread = evidence.std(axis=0)
    used = np.flatnonzero(spread > 1e-9)
    model = LogisticRegression(C=RIDGE, max_iter=200)
    with threadpool_limits(parameters.threads):
        model.fit(evidence[:, used] / spread[used], data.fraud, sample_weight=weight)
    slopes = model.coef_[0] / spread[used]
    trees = [
        _tree(column, bins[column], slope)
        for column, slope in zip(used.tolist(), slopes.tolist(), strict=True)
    ]
    return Additive(float(model.intercept_[0]), trees, data.matrix.shape[1])


def _binned(
    column: npt.NDArray[np.float32], fraud: npt.NDArray[np.bool_], weight: Floats, rate: float
) -> tuple[_Bins, npt.NDArray[np.int64]]:
    """Bins of as many rows, and the bin of each row (n,)."""
    known = column[~np.isnan(column)]
    cuts = np.quantile(known, np.arange(1, BINS) / BINS) if len(known) else np.empty(0)
    # rare values above all others say most: one edge for them
    top = np.quantile(known, [0.99]) if len(known) else np.empty(0)
    edges = np.unique(np.concatenate([cuts, top]).astype(np.float32))[-(BINS - 1) :]
    places = np.searchsorted(edges, column, side="right")
    places[np.isnan(column)] = len(edges) + 1
    rows = np.bincount(places, weight, len(edges) + 2)
    bad = np.bincount(places, weight * fraud, len(edges) + 2)
    share = (bad + PRIOR_ROWS * rate) / (rows + PRIOR_ROWS)
    evidence = np.log(share / (1 - share)) - np.log(rate / (1 - rate))
    return _Bins(edges, np.asarray(evidence, np.float64), np.asarray(rows, np.float64)), places


def _tree(feature: int, bins: _Bins, slope: float) -> Tree:
    """The step function of one feature: no value is below the root's threshold, so only unknown ones go left there."""
    nodes: list[tuple[int, int, float, bool, float, float]] = []

    def leaf(place: int) -> int:
        nodes.append((-1, -1, 0.0, False, slope * bins.evidence[place], max(bins.rows[place], 0.5)))
        return len(nodes) - 1

    def between(first: int, last: int) -> int:
        """The subtree of the bins from ``first`` to ``last``."""
        if first == last:
            return leaf(first)
        middle = (first + last + 1) // 2
        here = len(nodes)
        nodes.append((0, 0, 0.0, False, 0.0, 0.0))
        left, right = between(first, middle - 1), between(middle, last)
        nodes[here] = (
            left,
            right,
            float(bins.edges[middle - 1]),
            False,
            0.0,
            nodes[left][5] + nodes[right][5],
        )
        return here

    nodes.append((0, 0, 0.0, True, 0.0, 0.0))
    unknown = leaf(len(bins.edges) + 1)
    known = between(0, len(bins.edges))
    nodes[0] = (unknown, known, -float(_HUGE), True, 0.0, nodes[unknown][5] + nodes[known][5])
    left, right, threshold, unknown_left, value, cover = (np.array(part) for part in zip(*nodes, strict=True))
    return Tree(
        left=left.astype(np.int32), right=right.astype(np.int32), feature=np.full(len(nodes), feature, np.int32),
        threshold=threshold.astype(np.float32), unknown_left=unknown_left.astype(bool), value=value.astype(np.float32),
        cover=cover.astype(np.float32),
    )  # fmt: skip
