"""XGBoost."""

from __future__ import annotations

import numpy as np
import xgboost

from models.training.dataset import Dataset
from models.training.learners.additive import Additive, of_booster
from models.training.learners.parameters import Parameters


def fit_booster(data: Dataset, parameters: Parameters) -> xgboost.Booster:
    """Fit to the rows of ``data`` with their weights."""
    matrix = xgboost.QuantileDMatrix(
        data.matrix, label=data.fraud.astype(np.float32), weight=data.weight, max_bin=parameters.max_bin,
        nthread=parameters.threads,
    )  # fmt: skip
    return xgboost.train(
        {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "max_depth": parameters.max_depth,
            "eta": parameters.learning_rate,
            "subsample": parameters.subsample,
            "colsample_bytree": parameters.colsample,
            "min_child_weight": parameters.min_child_weight,
            "lambda": parameters.reg_lambda,
            "max_bin": parameters.max_bin,
            "nthread": parameters.threads,
            "seed": parameters.seed,
        },
        matrix,
        parameters.rounds,
    )


def fit_boosted(data: Dataset, parameters: Parameters) -> Additive:
    """``fit_booster`` as an additive model."""
    return of_booster(fit_booster(data, parameters))
