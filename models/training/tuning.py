"""Parameters found by Optuna within a time budget, on prequential folds: each is tested on rows newer than those it was fitted to.

Between a fold's training rows and its test lies the labels' delay, as in life. The parameters that one has are the first trial, so what is
found is never worse on the folds. Source of the folds: Fraud Detection Handbook, chapter 5 (prequential validation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from models.training.dataset import Dataset, DatasetError
from models.training.evaluation import average_precision
from models.training.label_states import MATURITY_MS
from models.training.learners.parameters import Parameters
from models.training.training import MIN_FRAUDS, fit, margins

Fold = tuple[Dataset, Dataset]
FOLDS = 3
#: the share of the data's span that each fold is tested on
TEST_SHARE = 0.12


@dataclass(frozen=True)
class Tuned:
    """``score``: mean average precision over the folds; ``before``: of the parameters that were given."""

    parameters: Parameters
    score: float
    before: float
    trials: int
    folds: int

    def account(self) -> dict[str, Any]:
        """For the lineage."""
        return {
            "average_precision": self.score, "before": self.before, "trials": self.trials, "folds": self.folds,
        }  # fmt: skip


def prequential(data: Dataset, count: int = FOLDS, delay_ms: int = MATURITY_MS) -> list[Fold]:
    """Folds whose tests follow each other up to the newest row; those with too few frauds are left out.

    Raises:
        DatasetError: none has enough frauds.
    """
    first, last = int(data.event_ms[0]), int(data.event_ms[-1]) + 1
    length = int((last - first) * TEST_SHARE)
    found: list[Fold] = []
    for number in range(count):
        end = last - number * length
        train, test = data.between(first, end - length - delay_ms), data.between(end - length, end)
        if min(train.frauds, test.frauds) >= MIN_FRAUDS:
            found.append((train, test))
    if not found:
        raise DatasetError(
            f"no fold to tune on has {MIN_FRAUDS} frauds on both sides of the labels' delay: train without --tune"
        )
    return found


def tuned(folds: Sequence[Fold], given: Parameters, *, budget_s: float, trials: int | None = None) -> Tuned:
    """The best parameters found; a trial that has begun is finished, so a little more than ``budget_s`` seconds may pass.

    Args:
        trials: at most so many, the first with ``given``; None: as many as time allows.
    """
    import optuna  # slow to import

    def objective(trial: Any) -> float:
        parameters = _asked(trial, given)
        scores = [
            average_precision(test.fraud, margins(fit(train, parameters), test.matrix), test.weight)
            for train, test in folds
        ]
        return float(np.mean([score or 0.0 for score in scores]))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=given.seed))
    study.enqueue_trial({name: getattr(given, name) for name in _NAMES})
    study.optimize(objective, n_trials=trials, timeout=budget_s)
    best, before = study.best_trial, study.trials[0].value
    assert before is not None and best.value is not None
    chosen = given if best.number == 0 else msgspec.structs.replace(given, **best.params)
    return Tuned(chosen, best.value, before, len(study.trials), len(folds))


_NAMES = (
    "rounds", "max_depth", "learning_rate", "subsample", "colsample", "min_child_weight", "reg_lambda",
)  # fmt: skip


def _asked(trial: Any, given: Parameters) -> Parameters:
    """A trial's parameters. Trees stay as shallow, and as few, as the compiled forest scores in a few microseconds."""
    return msgspec.structs.replace(
        given,
        rounds=trial.suggest_int("rounds", 50, 400),
        max_depth=trial.suggest_int("max_depth", 2, 5),
        learning_rate=trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
        subsample=trial.suggest_float("subsample", 0.5, 1.0),
        colsample=trial.suggest_float("colsample", 0.2, 1.0),
        min_child_weight=trial.suggest_float("min_child_weight", 1.0, 50.0, log=True),
        reg_lambda=trial.suggest_float("reg_lambda", 0.5, 50.0, log=True),
    )
