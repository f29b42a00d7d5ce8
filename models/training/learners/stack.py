"""A stacked ensemble of three: XGBoost, histogram boosting and the scorecard, added up by how much each says on cards it has not seen.

The weights are a logistic regression, without negative weights, on margins of rows whose card was not among those learnt from. The sum
of additive models is one: the bundle, its backends and its reasons know no difference. Source: Wolpert 1992, "Stacked
generalization"; Breiman 1996, "Stacked regressions" (weights that are not negative).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from models.training.dataset import Dataset, DatasetError
from models.training.learners.additive import Additive, to_booster, total
from models.training.learners.boosted import fit_boosted
from models.training.learners.histogram import fit_histogram
from models.training.learners.parameters import Kind, Parameters
from models.training.learners.scorecard import fit_scorecard

Learner = Callable[[Dataset, Parameters], Additive]
MEMBERS: Mapping[Kind, Learner] = MappingProxyType(
    {"boosted": fit_boosted, "histogram": fit_histogram, "scorecard": fit_scorecard}
)
#: parts of the cards; each part's margins come from models of the others
PARTS = 3

Floats = npt.NDArray[np.float64]


def fit_stack(data: Dataset, parameters: Parameters) -> Additive:
    """Fit the three and their weights.

    Raises:
        DatasetError: a part of the cards has no fraud.
    """
    part = part_of_cards(data, parameters.seed)
    unseen = np.zeros((len(data), len(MEMBERS)))
    for number in range(PARTS):
        inside = part == number
        if not data.fraud[inside].any() or not data.fraud[~inside].any():
            raise DatasetError(
                f"the frauds are those of too few cards to stack models: all are in {PARTS - 1} of {PARTS} parts"
            )
        others, own = data.take(~inside), data.matrix[inside]
        for column, fit in enumerate(MEMBERS.values()):
            unseen[inside, column] = _margins(fit(others, parameters), own)
    weights, base = combined(unseen, data.fraud, data.weights.astype(np.float64))
    members = [
        fit(data, parameters).times(weight) for fit, weight in zip(MEMBERS.values(), weights, strict=True)
    ]
    return total(members, base)


def combined(margins: Floats, fraud: npt.NDArray[np.bool_], each: Floats) -> tuple[list[float], float]:
    """The weight of each model, none negative, and what is added, by least log loss.

    Args:
        margins: log-odds (n, models) of rows that the models have not seen; ``each``: weight of the rows (n,).
    """
    target, count = fraud.astype(np.float64), margins.shape[1]

    def loss(point: Floats) -> tuple[float, Floats]:
        logit = margins @ point[:count] + point[count]
        p = 1 / (1 + np.exp(-np.clip(logit, -700, 700)))
        off = each * (p - target)
        value = float((each * (np.logaddexp(0.0, logit) - target * logit)).sum())
        return value / each.sum(), np.append(margins.T @ off, off.sum()) / each.sum()

    start = np.append(np.full(count, 1 / count), 0.0)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 4.0)] * count + [(None, None)])
    return found.x[:count].tolist(), float(found.x[count])


def part_of_cards(data: Dataset, seed: int) -> npt.NDArray[np.int64]:
    """The part (n,) of each row: those of one card are in one part, and each part has about as many cards with fraud."""
    cards, codes = np.unique(data.card.astype(str), return_inverse=True)
    bad = np.zeros(len(cards), bool)
    bad[codes[data.fraud]] = True
    rng = np.random.default_rng(seed)
    part = np.zeros(len(cards), np.int64)
    for chosen in (bad, ~bad):
        places = rng.permutation(np.flatnonzero(chosen))
        part[places] = np.arange(len(places)) % PARTS
    return np.asarray(part[codes], dtype=np.int64)


def _margins(model: Additive, matrix: npt.NDArray[np.float32]) -> Floats:
    found = to_booster(model).inplace_predict(np.ascontiguousarray(matrix), predict_type="margin")
    return np.asarray(found, dtype=np.float64).reshape(-1)
