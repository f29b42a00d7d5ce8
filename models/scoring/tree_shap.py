"""TreeSHAP, path-dependent, compiled: the same contributions as XGBoost's ``pred_contribs`` at a hundredth of its cost.

A leaf's contributions depend on a row only through which of the features on its path lead towards it: at most 2**depth cases,
computed once when a model is loaded (Yang 2021, "Fast TreeSHAP", the second algorithm). Leaves below the same node two levels up
share nearly all of their path. They form a group with one table of cases, indexed by the outcomes of the nodes above its leaves.
For a row, the outcomes of all nodes of a tree are the bits of one word, and each group adds the line of its case. Formula:
Lundberg and others 2018, "Consistent individualized feature attribution for tree ensembles", the Shapley value over the
features of one path.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import numpy as np
import numpy.typing as npt
from numba import njit

from models.scoring.forest import Forest, Leaf, Leaves
from models.scoring.forest_kernel import FloatArray, lay_out

WordArray = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Shares:
    """Groups of leaves, in the order of trees.

    ``first`` int64 (trees + 1,): a tree's first group. ``asks`` int64 (groups,): number of nodes that decide a group's case;
    ``node`` uint64 (groups, depth + 1): these nodes. ``gives`` int64 (groups,): number of features it contributes to;
    ``feature`` uint64 (groups, depth + 1): these features. ``given`` float32 (groups, depth + 1, 2**(depth + 1)): contributions
    by case; bit ``j`` of the case is set when node ``j`` sends the row right.
    """

    first: npt.NDArray[np.int64]
    asks: npt.NDArray[np.int64]
    node: WordArray
    gives: npt.NDArray[np.int64]
    feature: WordArray
    given: FloatArray


@dataclass(frozen=True)
class _Cases:
    """All leaves, in the order of trees, each with up to ``depth`` features on its path.

    ``count`` int64 (leaves,): number of features on the path. ``feature`` int64 (leaves, depth). ``asked`` uint64 (leaves, depth):
    bits of the nodes that split on the feature; ``wanted``, same shape: those of them that must go right. ``given`` float64
    (leaves, 2**depth, depth): contributions by case; bit ``i`` of the case is set when feature ``i`` leads to the leaf.
    """

    count: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    asked: WordArray
    wanted: WordArray
    given: npt.NDArray[np.float64]


def shares_of(forest: Forest, trees: Leaves) -> Shares:
    """Compute the cases of every group: about 20 ms for 200 trees of depth 4."""
    cases = _cases(forest, trees)
    leaves = len(cases.count)
    group = np.zeros(leaves, np.int64)
    first = np.zeros(len(trees) + 1, np.int64)
    ends = np.cumsum([0, *(len(tree) for tree in trees)])
    groups = _group(ends, cases.asked, forest.depth, group, first)
    most = forest.depth + 1
    asks, gives = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    node, feature = np.zeros((groups, most), np.uint64), np.zeros((groups, most), np.int64)
    given = np.zeros((groups, most, 1 << most))
    _bring_together(
        group, cases.count, cases.feature, cases.asked, cases.wanted, cases.given, asks, node, gives, feature, given
    )  # fmt: skip
    # unsigned, so that Numba omits the check for negative indices
    return Shares(first, asks, node, gives, feature.astype(np.uint64), given.astype(np.float32))


def _cases(forest: Forest, trees: Leaves) -> _Cases:
    leaves, depth = sum(map(len, trees)), forest.depth
    count, value = np.zeros(leaves, np.int64), np.zeros(leaves)
    feature = np.zeros((leaves, depth), np.int64)
    asked, wanted = np.zeros((leaves, depth), np.uint64), np.zeros((leaves, depth), np.uint64)
    share = np.ones((leaves, depth))
    for number, leaf in enumerate(leaf for tree in trees for leaf in tree):
        value[number] = leaf.value
        count[number] = _gather(leaf, feature[number], asked[number], wanted[number], share[number])
    given = np.zeros((leaves, 2**depth, depth))
    weights = np.zeros((depth + 1, depth + 1))
    for size in range(1, depth + 1):
        for chosen in range(size):
            weights[size, chosen] = factorial(chosen) * factorial(size - 1 - chosen) / factorial(size)
    _work_out(count, value, share, weights, given)
    return _Cases(count, feature, asked, wanted, given)


def forest_contributions(forest: Forest, shares: Shares, matrix: FloatArray) -> FloatArray:
    """Contributions (n, width) in log-odds of rows float32 (n, width); 5 to 7 us a row in batches of 10 and more."""
    out = np.zeros(matrix.shape[::-1], np.float64)
    _add_up(
        matrix, forest.columns, forest.thresholds, shares.first, shares.asks, shares.node, shares.gives, shares.feature,
        shares.given, out,
    )  # fmt: skip
    return out.T.astype(np.float32, order="C")


@njit(cache=True, nogil=True)
def strongest(contributions, k):  # type: ignore[no-untyped-def]
    """The columns of each row's ``k`` largest positive contributions, largest first, int64 (n, k); padded with -1."""
    out = np.full((len(contributions), k), -1, np.int64)
    for row in range(len(contributions)):
        for column in range(contributions.shape[1]):
            value = contributions[row, column]
            if not value > 0:
                continue
            place = k
            while place > 0 and (out[row, place - 1] < 0 or contributions[row, out[row, place - 1]] < value):
                place -= 1
            for after in range(k - 1, place, -1):
                out[row, after] = out[row, after - 1]
            if place < k:
                out[row, place] = column
    return out


def _gather(
    leaf: Leaf,
    feature: npt.NDArray[np.int64],
    asked: WordArray,
    wanted: WordArray,
    share: npt.NDArray[np.float64],
) -> int:
    """Merge the edges of a leaf that split on the same feature; returns the number of features."""
    order = list(dict.fromkeys(edge.feature for edge in leaf.edges))
    for edge in leaf.edges:
        i = order.index(edge.feature)
        feature[i] = edge.feature
        asked[i] |= np.uint64(1 << edge.node)
        wanted[i] |= np.uint64(edge.right << edge.node)
        share[i] *= edge.share
    return len(order)


@njit(cache=True, nogil=True)
def _work_out(count, value, share, weights, given):  # type: ignore[no-untyped-def]
    # ways[k]: sum of the products over all choices of k other features of the path that lead to the leaf
    ways = np.zeros(share.shape[1] + 1)
    for leaf in range(len(count)):
        features = count[leaf]
        for case in range(1 << features):
            for i in range(features):
                ways[:] = 0.0
                ways[0] = 1.0
                for j in range(features):
                    if j == i:
                        continue
                    leads = (case >> j) & 1
                    for k in range(features - 1, -1, -1):
                        ways[k] = ways[k] * share[leaf, j] + (ways[k - 1] if leads and k > 0 else 0.0)
                total = 0.0
                for k in range(features):
                    total += weights[features, k] * ways[k]
                given[leaf, case, i] = value[leaf] * (((case >> i) & 1) - share[leaf, i]) * total


@njit(cache=True, nogil=True)
def _group(ends, asked, depth, group, first):  # type: ignore[no-untyped-def]
    """Number the group of each leaf; groups are the subtrees two levels above the lowest leaves. Returns the number of groups."""
    level = max(depth - 2, 0)
    low, high = (1 << level) - 1, (1 << (level + 1)) - 1
    number = -1
    for tree in range(len(ends) - 1):
        first[tree] = number + 1
        before = -1
        for leaf in range(ends[tree], ends[tree + 1]):
            path = np.uint64(0)
            for i in range(asked.shape[1]):
                path |= asked[leaf, i]
            above = -1
            for node in range(low, high):
                if (path >> np.uint64(node)) & np.uint64(1):
                    above = node
            # a leaf higher up is a group of its own; leaves below one node follow each other
            if above < 0 or above != before:
                number += 1
            before = above
            group[leaf] = number
    first[len(ends) - 1] = number + 1
    return number + 1


@njit(cache=True, nogil=True)
def _bring_together(group, count, features, asked, wanted, cases, asks, node, gives, feature, given):  # type: ignore[no-untyped-def]
    one = np.uint64(1)
    leaves = len(group)
    place = np.zeros(feature.shape[1], np.int64)
    begin = 0
    while begin < leaves:
        number, end = group[begin], begin
        paths = np.uint64(0)
        while end < leaves and group[end] == number:
            for i in range(count[end]):
                paths |= asked[end, i]
            end += 1
        for n in range(64):
            if (paths >> np.uint64(n)) & one:
                node[number, asks[number]] = np.uint64(n)
                asks[number] += 1
        for leaf in range(begin, end):
            for i in range(count[leaf]):
                place[i] = -1
                for k in range(gives[number]):
                    if feature[number, k] == features[leaf, i]:
                        place[i] = k
                if place[i] < 0:
                    place[i] = gives[number]
                    feature[number, place[i]] = features[leaf, i]
                    gives[number] += 1
            for case in range(1 << asks[number]):
                outcomes = np.uint64(0)
                for j in range(asks[number]):
                    outcomes |= np.uint64((case >> j) & 1) << node[number, j]
                own = 0
                for i in range(count[leaf]):
                    own |= int((outcomes & asked[leaf, i]) == wanted[leaf, i]) << i
                for i in range(count[leaf]):
                    given[number, place[i], case] += cases[leaf, own, i]
        begin = end


@njit(cache=True, nogil=True)
def _add_up(matrix, columns, thresholds, first, asks, node, gives, feature, given, out):  # type: ignore[no-untyped-def]
    """Add every group's line to ``out`` (width, n)."""
    # rows run innermost, each step on one array of n values: the compiler makes vectors of that, and no sum waits for the one
    # before it. Flat indices, because a view of an array costs as much as ten rows
    trees, nodes = columns.shape
    n, one = len(matrix), np.uint64(1)
    both = _columns(matrix)
    sums, lines = out.ravel(), given.ravel()
    outcomes, case = np.empty(n, np.uint64), np.empty(n, np.uint64)
    for tree in range(trees):
        outcomes[:] = np.uint64(0)
        for k in range(nodes):
            begin, threshold, to = (
                np.uint64(columns[tree, k]) * np.uint64(n),
                thresholds[tree, k],
                np.uint64(k),
            )
            for row in range(n):
                outcomes[row] |= np.uint64(both[begin + np.uint64(row)] >= threshold) << to
        for group in range(first[tree], first[tree + 1]):
            case[:] = np.uint64(0)
            for j in range(asks[group]):
                from_, to = node[group, j], np.uint64(j)
                for row in range(n):
                    case[row] |= ((outcomes[row] >> from_) & one) << to
            for i in range(gives[group]):
                line = np.uint64((group * given.shape[1] + i) * given.shape[2])
                begin = feature[group, i] * np.uint64(n)
                for row in range(n):
                    sums[begin + np.uint64(row)] += lines[line + case[row]]


@njit(cache=True, nogil=True)
def _columns(matrix):  # type: ignore[no-untyped-def]
    """Rows as ``lay_out`` has them, column by column, flat (2 * width * n,)."""
    n, width = matrix.shape
    both = np.empty((2 * width, n), np.float32)
    one = np.empty(2 * width, np.float32)
    for row in range(n):
        lay_out(matrix[row], one)
        both[:, row] = one
    return both.ravel()
