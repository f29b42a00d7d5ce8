"""scikit-learn's histogram gradient boosting, grown leaf by leaf: trees of another shape than XGBoost's."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.training.dataset import Dataset
from models.training.learners.additive import Additive, Tree, below
from models.training.learners.parameters import Parameters


def fit_histogram(data: Dataset, parameters: Parameters) -> Additive:
    """Fit to the rows of ``data`` with their weights."""
    model = HistGradientBoostingClassifier(
        max_iter=parameters.rounds, learning_rate=parameters.learning_rate, max_depth=parameters.max_depth,
        max_leaf_nodes=2**parameters.max_depth - 2, min_samples_leaf=40, l2_regularization=parameters.reg_lambda,
        max_features=parameters.colsample, max_bins=min(parameters.max_bin, 255), early_stopping=False,
        random_state=parameters.seed,
    )  # fmt: skip
    # columns without any value have no bins
    known = np.flatnonzero(~np.isnan(data.matrix).all(axis=0))
    with threadpool_limits(parameters.threads):
        model.fit(data.matrix[:, known], data.fraud, sample_weight=data.weight)
    return additive_of(model, known, data.matrix.shape[1])


def additive_of(model: Any, known: np.ndarray, width: int) -> Additive:
    """The trees of a fitted binary classifier. ``known``: the columns of the row, of ``width``, that it was fitted on."""
    trees = [_read(found[0].nodes, known) for found in model._predictors]
    return Additive(float(np.ravel(model._baseline_prediction)[0]), trees, width)


def _read(nodes: Any, known: np.ndarray) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)).astype(np.int32),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)).astype(np.int32),
        feature=known[np.where(leaf, 0, nodes["feature_idx"])].astype(np.int32),
        # its trees send values up to the threshold to the left, XGBoost's those below it
        threshold=below(np.where(leaf, 0.0, nodes["num_threshold"])),
        unknown_left=nodes["missing_go_to_left"].astype(bool),
        value=np.where(leaf, nodes["value"], 0.0).astype(np.float32),
        cover=np.maximum(nodes["count"], 1).astype(np.float32),
    )  # fmt: skip
