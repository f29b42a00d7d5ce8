"""The trees of a trained booster as arrays for the compiled kernels; every tree is filled up to the same depth.

Node ``k`` has its children at ``2k + 1`` and ``2k + 2``; a leaf above the lowest level is repeated below itself. Source:
XGBoost's JSON model schema (a leaf's value is in ``split_conditions``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import xgboost

from models.scoring.onnx_export import ExportError, base_margin

#: a tree has at most 63 inner nodes, whose outcomes fit one 64-bit word; arrays of deeper trees would cost more than they save
MAX_DEPTH = 6


class ForestError(Exception):
    """The booster has something these arrays cannot represent (categories, deep trees, more than one output)."""


class Edge(NamedTuple):
    """One step towards a leaf: from inner node ``node``, split on ``feature``; ``share`` of its training rows took it."""

    node: int
    feature: int
    right: bool
    share: float


class Leaf(NamedTuple):
    """A trained leaf, with the edges from the root to it."""

    value: float
    edges: tuple[Edge, ...]


#: the leaves of each tree
Leaves = list[list[Leaf]]


@dataclass(frozen=True)
class Forest:
    """``columns`` uint16 (trees, 2**depth - 1): the place of the value to compare, in a row written twice (see
    ``forest_kernel``). ``thresholds`` float32, same shape: smaller values go left. ``values`` float32 (trees, 2**depth): the
    leaves."""

    width: int
    depth: int
    base: float
    columns: npt.NDArray[np.uint16]
    thresholds: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]


def read_forest(booster: xgboost.Booster) -> tuple[Forest, Leaves]:
    """The trees as arrays, and their trained leaves, from which explanations are computed.

    Raises:
        ForestError: arrays cannot represent the booster.
    """
    learner = msgspec.json.decode(bytes(booster.save_raw("json")))["learner"]
    if learner["objective"]["name"] != "binary:logistic" or learner["gradient_booster"]["name"] != "gbtree":
        raise ForestError("only binary:logistic gbtree models have a compiled form")
    trees = learner["gradient_booster"]["model"]["trees"]
    if any(any(tree["split_type"]) for tree in trees):
        raise ForestError("categorical splits have no compiled form")
    depth = max((_depth(tree, 0) for tree in trees), default=0)
    if not 1 <= depth <= MAX_DEPTH:
        raise ForestError(f"trees of depth {depth} have no compiled form: 1 to {MAX_DEPTH}")
    try:
        base = base_margin(learner["learner_model_param"]["base_score"])
    except ExportError as error:
        raise ForestError(str(error)) from error
    return _filled(trees, int(learner["learner_model_param"]["num_feature"]), depth, base)


def _filled(trees: list[dict[str, Any]], width: int, depth: int, base: float) -> tuple[Forest, Leaves]:
    nodes = 2**depth - 1
    columns = np.zeros((len(trees), nodes), np.uint16)
    # below a leaf that is above the lowest level, both directions lead to its value
    thresholds = np.full((len(trees), nodes), np.inf, np.float32)
    values = np.zeros((len(trees), nodes + 1), np.float32)
    leaves: Leaves = []
    for number, tree in enumerate(trees):
        found: list[Leaf] = []
        places: list[tuple[int, int, tuple[Edge, ...]]] = [(0, 0, ())]
        while places:
            node, place, path = places.pop()
            left, right = tree["left_children"][node], tree["right_children"][node]
            value, feature, cover = (
                tree["split_conditions"][node],
                tree["split_indices"][node],
                tree["sum_hessian"],
            )
            if left == -1:
                found.append(Leaf(value, path))
                first, last = _below(place, nodes)
                values[number, first - nodes : last - nodes + 1] = value
                continue
            columns[number, place] = feature + (0 if tree["default_left"][node] else width)
            thresholds[number, place] = value
            for child, down, goes_right in ((left, 2 * place + 1, False), (right, 2 * place + 2, True)):
                edge = Edge(place, feature, goes_right, cover[child] / cover[node])
                places.append((child, down, (*path, edge)))
        leaves.append(found)
    return Forest(width, depth, base, columns, thresholds, values), leaves


def _depth(tree: dict[str, Any], node: int) -> int:
    if tree["left_children"][node] == -1:
        return 0
    return 1 + max(_depth(tree, tree["left_children"][node]), _depth(tree, tree["right_children"][node]))


def _below(place: int, nodes: int) -> tuple[int, int]:
    """The leftmost and the rightmost node of the lowest level below ``place``."""
    first = last = place
    while first < nodes:
        first, last = 2 * first + 1, 2 * last + 2
    return first, last
