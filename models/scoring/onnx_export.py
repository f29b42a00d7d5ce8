"""Export a trained booster as an ONNX graph that computes the margin (log-odds) in float32, like XGBoost itself.

onnxmltools exports a classifier with its sigmoid, but calibration needs the margin, and probabilities near 0 or 1 have lost
digits. So the trees are written here as one TreeEnsembleRegressor. Source: ONNX operators ``ai.onnx.ml`` 3, and XGBoost's
JSON model schema (a leaf's value is in ``split_conditions``).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import xgboost
from onnx import TensorProto, checker, helper

INPUT, OUTPUT = "features", "margin"


class ExportError(Exception):
    """The graph cannot represent the booster (categories, more than one output)."""


def to_onnx(booster: xgboost.Booster) -> bytes:
    """The serialised graph: from ``features`` float32 (n, width) to ``margin`` float32 (n, 1).

    Raises:
        ExportError: not a binary logistic tree model with numeric splits.
    """
    learner = msgspec.json.decode(bytes(booster.save_raw("json")))["learner"]
    objective = learner["objective"]["name"]
    if objective != "binary:logistic" or learner["gradient_booster"]["name"] != "gbtree":
        raise ExportError(f"only binary:logistic gbtree models are exported, not {objective}")
    nodes: dict[str, list[Any]] = {key: [] for key in _NODE_KEYS}
    leaves: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree_id, tree in enumerate(learner["gradient_booster"]["model"]["trees"]):
        _add_tree(tree_id, tree, nodes, leaves)
    width = int(learner["learner_model_param"]["num_feature"])
    node = helper.make_node(
        "TreeEnsembleRegressor", [INPUT], [OUTPUT], domain="ai.onnx.ml", n_targets=1, aggregate_function="SUM",
        post_transform="NONE", base_values=[base_margin(learner["learner_model_param"]["base_score"])],
        **{f"nodes_{key}": value for key, value in nodes.items()},
        **{f"target_{key}": value for key, value in leaves.items()},
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "fraud",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 18)], ir_version=9
    )
    checker.check_model(model)
    return bytes(model.SerializeToString())


_NODE_KEYS = (
    "treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true",
)  # fmt: skip


def _add_tree(
    tree_id: int, tree: dict[str, Any], nodes: dict[str, list[Any]], leaves: dict[str, list[Any]]
) -> None:
    if any(tree["split_type"]):
        raise ExportError("categorical splits are not exported")
    columns = zip(
        tree["left_children"], tree["right_children"], tree["split_indices"], tree["split_conditions"],
        tree["default_left"], strict=True,
    )  # fmt: skip
    for node_id, (left, right, feature, value, default_left) in enumerate(columns):
        leaf = left == -1
        row = (
            tree_id, node_id, 0 if leaf else feature, 0.0 if leaf else value, "LEAF" if leaf else "BRANCH_LT",
            0 if leaf else left, 0 if leaf else right, 0 if leaf else default_left,
        )  # fmt: skip
        for key, item in zip(_NODE_KEYS, row, strict=True):
            nodes[key].append(item)
        if leaf:
            for key, item in zip(leaves, (tree_id, node_id, 0, value), strict=True):
                leaves[key].append(item)


def base_margin(base_score: str) -> float:
    """The start value of every row's margin, from a model's ``base_score``.

    Raises:
        ExportError: it is not a single probability.
    """
    # "5E-1" before XGBoost 3.1, "[5E-1]" since; for this objective it is a probability
    values = [float(part) for part in base_score.strip("[]").split(",")]
    if len(values) != 1 or not 0 < values[0] < 1:
        raise ExportError(f"base_score {base_score} is not a single probability")
    # in float32, like XGBoost: the last bit of every margin depends on it
    one = np.float32(1)
    return float(-np.log(one / np.float32(values[0]) - one))
