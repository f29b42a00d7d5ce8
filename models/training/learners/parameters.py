"""Settings of a training run."""

from __future__ import annotations

from typing import Literal

import msgspec

#: XGBoost; scikit-learn's histogram boosting; logistic regression on binned features; the three of them, stacked
Kind = Literal["boosted", "histogram", "scorecard", "stack"]


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a training run. Above ``max_rows``, honest rows are sampled to bound time; calibration corrects the rate."""

    kind: Kind = "boosted"
    rounds: int = 200
    max_depth: int = 4
    learning_rate: float = 0.05
    subsample: float = 0.8
    colsample: float = 0.6
    min_child_weight: float = 5.0
    reg_lambda: float = 5.0
    max_bin: int = 128
    #: on a busy machine two threads wait for each other (8 s, against 2 s with one)
    threads: int = 1
    seed: int = 7
    max_rows: int = 150_000
    #: seconds in which better values are looked for first (``models.training.tuning``); 0: none
    tune_s: float = 0.0
