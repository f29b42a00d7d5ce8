"""Additive models as one forest: whatever sums up trees can be written as an XGBoost booster, which every backend scores and explains.

So a stacked ensemble is one model of a bundle like any other: its trees are those of its members, with their leaves multiplied by the
member's weight. Source: XGBoost's JSON model schema (a leaf's value is in ``split_conditions``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import xgboost

from models.scoring.onnx_export import base_margin

#: XGBoost's JSON knows no infinity: all numbers are below it
_HUGE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Tree:
    """n nodes, the root first. ``left`` and ``right``: children, -1 in a leaf. A value below ``threshold`` goes left, an unknown one
    where ``unknown_left`` says. ``value``: of a leaf, log-odds. ``cover``: how many rows came by, above 0.
    """

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    unknown_left: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float32]
    cover: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Additive:
    """The margin (log-odds) of a row is ``base`` and the values of the leaves that it falls into. ``width``: of a row."""

    base: float
    trees: Sequence[Tree]
    width: int

    def times(self, weight: float) -> Additive:
        """The same margins, multiplied."""
        scaled = [_with_value(tree, tree.value * np.float32(weight)) for tree in self.trees]
        return Additive(self.base * weight, scaled, self.width)


def total(parts: Sequence[Additive], base: float = 0.0) -> Additive:
    """The sum of several models' margins and ``base``.

    Raises:
        ValueError: they take rows of different widths.
    """
    widths = {part.width for part in parts}
    if len(widths) != 1:
        raise ValueError(f"models of rows of {sorted(widths)} values cannot be added")
    trees = [tree for part in parts for tree in part.trees]
    return Additive(base + sum(part.base for part in parts), trees, widths.pop())


def of_booster(booster: xgboost.Booster) -> Additive:
    """The trees of a binary logistic booster."""
    learner = msgspec.json.decode(bytes(booster.save_raw("json")))["learner"]
    parameters = learner["learner_model_param"]
    trees = [_read(tree) for tree in learner["gradient_booster"]["model"]["trees"]]
    return Additive(base_margin(parameters["base_score"]), trees, int(parameters["num_feature"]))


def to_booster(model: Additive) -> xgboost.Booster:
    """The model as a booster; margins agree within the rounding of float32."""
    # a trained booster of the same width has every field that this version of XGBoost writes
    empty = xgboost.DMatrix(np.zeros((2, model.width), np.float32), label=np.array([0.0, 1.0]))
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 1, "base_score": 0.5}, empty, 1)
    document = msgspec.json.decode(bytes(booster.save_raw("json")))
    learner = document["learner"]
    inner = learner["gradient_booster"]["model"]
    bracketed = learner["learner_model_param"]["base_score"].startswith("[")
    # in double precision it would be rounded differently when it is read again
    score = float(np.float32(1 / (1 + np.exp(-model.base))))
    learner["learner_model_param"]["base_score"] = f"[{score!r}]" if bracketed else repr(score)
    inner["trees"] = [_written(number, tree, model.width) for number, tree in enumerate(model.trees)]
    count = len(model.trees)
    inner["gbtree_model_param"]["num_trees"] = str(count)
    inner["iteration_indptr"] = list(range(count + 1))
    inner["tree_info"] = [0] * count
    made = xgboost.Booster()
    made.load_model(bytearray(msgspec.json.encode(document)))
    return made


def below(at_most: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Thresholds t such that, for every float32 x, x < t means x <= ``at_most``."""
    down = at_most.astype(np.float32)
    down = np.where(down > at_most, np.nextafter(down, np.float32(-np.inf)), down)
    up = np.nextafter(down, np.float32(np.inf))
    return np.clip(up, -_HUGE, _HUGE).astype(np.float32)


def _with_value(tree: Tree, value: npt.NDArray[np.float32]) -> Tree:
    return Tree(
        tree.left,
        tree.right,
        tree.feature,
        tree.threshold,
        tree.unknown_left,
        value.astype(np.float32),
        tree.cover,
    )


def _read(tree: dict[str, Any]) -> Tree:
    left = np.array(tree["left_children"], np.int32)
    numbers = np.array(tree["split_conditions"], np.float32)
    return Tree(
        left=left, right=np.array(tree["right_children"], np.int32), feature=np.array(tree["split_indices"], np.int32),
        threshold=numbers, unknown_left=np.array(tree["default_left"]).astype(bool),
        value=np.where(left < 0, numbers, np.float32(0)), cover=np.array(tree["sum_hessian"], np.float32),
    )  # fmt: skip


def _level_by_level(tree: Tree) -> Tree:
    """The same tree with siblings side by side: XGBoost takes the node after a left child for its sibling."""
    order, levels = [0], [0]
    while levels:
        levels = [
            child for node in levels if tree.left[node] >= 0 for child in (tree.left[node], tree.right[node])
        ]
        order += levels
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    leaf = tree.left[order] < 0
    return Tree(
        left=np.where(leaf, -1, place[tree.left[order]]).astype(np.int32),
        right=np.where(leaf, -1, place[tree.right[order]]).astype(np.int32),
        feature=tree.feature[order], threshold=tree.threshold[order], unknown_left=tree.unknown_left[order],
        value=tree.value[order], cover=tree.cover[order],
    )  # fmt: skip


def _written(number: int, tree: Tree, width: int) -> dict[str, Any]:
    tree = _level_by_level(tree)
    nodes, leaf = len(tree.left), tree.left < 0
    parents = np.full(nodes, 2**31 - 1, np.int64)
    inner = np.flatnonzero(~leaf)
    parents[tree.left[inner]] = parents[tree.right[inner]] = inner
    numbers = np.where(leaf, tree.value, tree.threshold).astype(np.float64)
    return {
        "base_weights": np.where(leaf, tree.value, 0).astype(np.float64).tolist(),
        "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
        "default_left": (tree.unknown_left & ~leaf).astype(int).tolist(), "id": number,
        "left_children": tree.left.tolist(), "loss_changes": [0.0] * nodes, "parents": parents.tolist(),
        "right_children": tree.right.tolist(), "split_conditions": numbers.tolist(),
        "split_indices": np.where(leaf, 0, tree.feature).tolist(), "split_type": [0] * nodes,
        "sum_hessian": tree.cover.astype(np.float64).tolist(),
        "tree_param": {
            "num_deleted": "0", "num_feature": str(width), "num_nodes": str(nodes), "size_leaf_vector": "1",
        },
    }  # fmt: skip
