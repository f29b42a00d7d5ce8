"""Every kind of model is one forest: the booster gives the margins of what was fitted, on every backend, with reasons that add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from models.bundle.content import load_bundle, publish
from models.bundle.signing import ensure_keys
from models.scoring.scorer import Scorer
from models.training.dataset import Dataset
from models.training.evaluation import average_precision
from models.training.learners.additive import Additive, below, of_booster, to_booster, total
from models.training.learners.parameters import Kind, Parameters
from models.training.learners.stack import MEMBERS, combined, fit_stack, part_of_cards
from models.training.training import bundle_content, fit, margins, train
from tests.support.bundle_samples import CREATED
from tests.support.models_data import make_dataset

QUICK = Parameters(rounds=20)


def naive(model: Additive, matrix: np.ndarray) -> np.ndarray:
    """Oracle: row by row, node by node."""
    out = np.full(len(matrix), model.base)
    for row, values in enumerate(matrix):
        for tree in model.trees:
            node = 0
            while tree.left[node] >= 0:
                value = values[tree.feature[node]]
                left = tree.unknown_left[node] if np.isnan(value) else value < tree.threshold[node]
                node = tree.left[node] if left else tree.right[node]
            out[row] += tree.value[node]
    return out


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(4_000)


@pytest.mark.parametrize("kind", MEMBERS)
def test_the_booster_gives_the_margins_of_the_trees(data: Dataset, kind: Kind) -> None:
    model = MEMBERS[kind](data, QUICK)
    some = data.matrix[:60]
    assert margins(to_booster(model), some) == pytest.approx(naive(model, some), abs=2e-5)
    again = of_booster(to_booster(model))
    assert naive(again, some) == pytest.approx(naive(model, some), abs=2e-5)


def test_histogram_boosting_is_read_as_scikit_learn_scores_it(data: Dataset) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    from models.training.learners.histogram import additive_of

    sparse = data.matrix.copy()
    sparse[:, 5] = np.nan
    known = np.flatnonzero(~np.isnan(sparse).all(axis=0))
    model = HistGradientBoostingClassifier(max_iter=15, max_depth=4, random_state=1).fit(
        sparse[:, known], data.fraud
    )
    found = to_booster(additive_of(model, known, sparse.shape[1]))
    assert margins(found, sparse) == pytest.approx(model.decision_function(sparse[:, known]), abs=2e-5)


def test_a_threshold_divides_as_the_other_library_does() -> None:
    at_most = np.array([0.1, 1.0, 1 / 3, -2.5, 16_777_217.0, np.inf])
    found = below(at_most)
    for value in np.array([0.1, 1.0, 1 / 3, -2.5, 16_777_216, 16_777_218, 0.0, 1e30], np.float32):
        assert ((value < found) == (value <= at_most)).all(), value


def test_sums_and_multiples(data: Dataset) -> None:
    parts = [fit_one(data, QUICK) for fit_one in MEMBERS.values()]
    some = data.matrix[:500]
    whole = margins(to_booster(total([part.times(0.5) for part in parts], 0.25)), some)
    singly = sum(0.5 * margins(to_booster(part), some) for part in parts) + 0.25
    assert whole == pytest.approx(singly, abs=5e-5)
    with pytest.raises(ValueError, match="cannot be added"):
        total([parts[0], Additive(0.0, [], 3)])


def test_weights_are_found_and_never_negative() -> None:
    rng = np.random.default_rng(1)
    good, noise = rng.normal(size=(2, 20_000))
    fraud = rng.random(20_000) < 1 / (1 + np.exp(-(1.5 * good - 2)))
    weights, base = combined(np.column_stack([good, noise, -good]), fraud, np.ones(20_000))
    assert weights[0] == pytest.approx(1.5, abs=0.1) and base == pytest.approx(-2, abs=0.1)
    assert weights[1] < 0.05 and 0 <= weights[2] < 0.05


def test_no_card_is_in_two_parts(data: Dataset) -> None:
    part = part_of_cards(data, 1)
    for card in np.unique(data.card)[:50]:
        assert len(set(part[data.card == card].tolist())) == 1
    assert np.ptp(np.bincount(part)) < 0.2 * len(data)
    frauds = np.bincount(part[data.fraud])
    assert frauds.min() > 0.5 * frauds.max()


def test_the_stack_is_at_least_as_good_as_its_members_about(data: Dataset) -> None:
    newer = make_dataset(4_000, seed=9)
    found = {
        kind: average_precision(
            newer.fraud, margins(fit(data, msgspec.structs.replace(QUICK, kind=kind)), newer.matrix)
        )
        for kind in ("boosted", "histogram", "scorecard", "stack")
    }
    assert all(found.values())
    stack: Any = found.pop("stack")
    assert stack > max(value for value in found.values() if value is not None) - 0.01, found


def test_weights_of_rows_count_in_every_kind(data: Dataset) -> None:
    kept = np.random.default_rng(2).random(len(data)) < 0.6
    some = Dataset(
        data.matrix, data.fraud, data.event_ms, data.card, weight=np.where(kept, 1, 1e-6).astype(np.float32)
    )
    for kind, fit_one in MEMBERS.items():
        ours, every = (margins(to_booster(fit_one(one, QUICK)), data.matrix) for one in (some, data))
        alone = margins(to_booster(fit_one(data.take(kept), QUICK)), data.matrix)
        assert np.abs(ours - alone).mean() < np.abs(every - alone).mean(), kind


def test_a_stack_is_one_bundle_for_every_backend(tmp_path: Path) -> None:
    parameters = msgspec.structs.replace(QUICK, kind="stack")
    trained = train(make_dataset(), parameters, policy_version="1")
    made = bundle_content(trained, created_at=CREATED.isoformat(), code_version="test", extra={})
    trusted = ensure_keys(tmp_path / "keys")
    path = publish(
        made, tmp_path / "bundles", tmp_path / "keys", model="fraud", version="1.0.0", created_at=CREATED
    )
    bundle = load_bundle(path, trusted)
    assert bundle.lineage["parameters"]["kind"] == "stack"
    scorer = Scorer(bundle, measure=False)
    assert {"forest", "onnxruntime", "xgboost"} <= {backend.name for backend in scorer.backends}
    matrix = make_dataset(500, seed=8).matrix
    expected = margins(trained.booster, matrix)
    for backend in scorer.backends:
        assert backend.margin(matrix) == pytest.approx(expected, abs=1e-4), backend.name
    # what the features add to each row is its score, but for the bias
    rest = bundle.calibration.slope * expected - scorer.contributions(matrix).sum(axis=1)
    assert np.ptp(rest) < 1e-3
    row = int(np.argmax(expected))
    assert scorer.explain(matrix[row : row + 1])[0]


def test_a_stack_of_few_cards_says_so() -> None:
    from models.training.dataset import DatasetError

    data = make_dataset(600)
    few = Dataset(data.matrix, data.fraud, data.event_ms, np.full(len(data), "one"))
    with pytest.raises(DatasetError, match="too few cards"):
        fit_stack(few, QUICK)
