"""Margins of rows by a compiled walk through the trees: no branch depends on the data, so none is mispredicted.

A row is laid out twice, unknown values as -inf in the first copy (they go left) and as +inf in the second (they go
right), and every node knows which copy to look at: one comparison a level. Sums in float32, tree by tree from the base,
as XGBoost's own predictor does. Releases the interpreter's lock.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from models.scoring.forest import Forest

FloatArray = npt.NDArray[np.float32]


def forest_margins(forest: Forest, matrix: FloatArray) -> FloatArray:
    """Log-odds (n,) of rows float32 (n, width), C order, NaN for missing."""
    out = np.empty(len(matrix), np.float32)
    _walk(
        matrix, forest.columns, forest.thresholds, forest.values, np.float32(forest.base), forest.depth, out
    )
    return out


@njit(cache=True, nogil=True)
def lay_out(row, both):  # type: ignore[no-untyped-def]
    """Write a row (width,) into ``both`` (2 * width,): unknown values as -inf, then as +inf."""
    width = len(row)
    for column in range(width):
        value = row[column]
        unknown = value != value
        both[column] = -np.inf if unknown else value
        both[width + column] = np.inf if unknown else value


@njit(cache=True, nogil=True)
def _walk(matrix, columns, thresholds, values, base, depth, out):  # type: ignore[no-untyped-def]
    trees, nodes = columns.shape
    flat_columns, flat_thresholds, flat_values = columns.ravel(), thresholds.ravel(), values.ravel()
    both = np.empty(2 * matrix.shape[1], np.float32)
    # unsigned: Numba then needs no test for indices that count from the end
    one = np.uint64(1)
    for row in range(len(matrix)):
        lay_out(matrix[row], both)
        total = base
        for tree in range(trees):
            first = np.uint64(tree * nodes)
            node = np.uint64(0)
            for _ in range(depth):
                column = np.uint64(flat_columns[first + node])
                node += node + one + np.uint64(both[column] >= flat_thresholds[first + node])
            # a tree has one leaf more than inner nodes
            total += flat_values[first + np.uint64(tree) + node - np.uint64(nodes)]
        out[row] = total
