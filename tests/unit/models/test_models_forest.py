"""The compiled forest gives XGBoost's own margins, bit by bit, and its contributions, for any shape of tree."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost

from models.scoring.backends import ForestBackend, XgboostBackend
from models.scoring.forest import MAX_DEPTH, ForestError, read_forest
from models.scoring.forest_kernel import _walk
from models.scoring.tree_shap import _add_up, strongest

COLUMNS = 7


def booster(depth: int, seed: int, *, lossguide: bool = False, rows: int = 4_000) -> xgboost.Booster:
    """Trees on a few columns, so that a path meets the same one again; unknown values go both ways."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, COLUMNS)).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.3] = np.nan
    wanted = (
        np.nan_to_num(matrix[:, 0]) * 2 - np.isnan(matrix[:, 1]) + np.sin(3 * np.nan_to_num(matrix[:, 2]))
    )
    label = (wanted + rng.normal(size=rows) > 0.5).astype(np.float32)
    shape = {"grow_policy": "lossguide", "max_leaves": 9} if lossguide else {}
    parameters = {
        "objective": "binary:logistic",
        "max_depth": depth,
        "eta": 0.3,
        "nthread": 1,
        "seed": seed,
        **shape,
    }
    return xgboost.train(parameters, xgboost.DMatrix(matrix, label=label), 20)


def rows_for(model: xgboost.Booster, seed: int) -> np.ndarray:
    """Ordinary rows, unknown and infinite values, and the very values at which trees split."""
    rng = np.random.default_rng(seed)
    splits = model.trees_to_dataframe().query("Feature != 'Leaf'").Split.to_numpy(np.float32)
    special = np.concatenate([splits, [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e38, 1e-45]]).astype(np.float32)
    ordinary = rng.normal(size=(200, COLUMNS)).astype(np.float32)
    return np.concatenate([ordinary, rng.choice(special, (400, COLUMNS))])


@pytest.mark.parametrize("depth", range(1, MAX_DEPTH + 1))
@pytest.mark.parametrize("lossguide", [False, True])
def test_margins_are_xgboosts_own_and_so_are_contributions(depth: int, lossguide: bool) -> None:
    model = booster(depth, seed=depth, lossguide=lossguide)
    rows = rows_for(model, seed=depth)
    ours, theirs = ForestBackend(model), XgboostBackend(bytes(model.save_raw("ubj")))
    assert ours.margin(rows).tobytes() == theirs.margin(rows).tobytes()
    expected = theirs.contributions(rows)
    np.testing.assert_allclose(ours.contributions(rows), expected, atol=1e-5, rtol=1e-5)
    # a row's neighbours have nothing to do with it
    for size in (1, 7):
        alone = np.concatenate([ours.contributions(rows[at : at + size]) for at in range(0, 70, size)])
        assert alone.tobytes() == ours.contributions(rows[:70]).tobytes()


def test_contributions_and_the_expected_margin_add_up_to_the_margin() -> None:
    model = booster(4, seed=11)
    rows = rows_for(model, seed=12)
    ours = ForestBackend(model)
    left = ours.margin(rows) - ours.contributions(rows).sum(axis=1)
    np.testing.assert_allclose(left, np.full(len(rows), left[0]), atol=1e-4)


def test_no_batch_compiles_a_kernel_again() -> None:
    ours = ForestBackend(booster(3, seed=1))
    before = (len(_walk.signatures), len(_add_up.signatures))
    read_only = np.frombuffer(np.zeros(COLUMNS * 5, np.float32).tobytes(), np.float32).reshape(5, COLUMNS)
    for rows in (read_only, read_only[:1], read_only.copy(), read_only[:0]):
        assert ours.margin(rows).shape == (len(rows),)
        assert ours.contributions(rows).shape == rows.shape
    assert (len(_walk.signatures), len(_add_up.signatures)) == before


def test_what_has_no_compiled_form_is_said() -> None:
    with pytest.raises(ForestError, match=f"1 to {MAX_DEPTH}"):
        read_forest(booster(MAX_DEPTH + 2, seed=2))
    numbers = np.arange(20, dtype=np.float32).reshape(10, 2)
    regression = xgboost.train(
        {"objective": "reg:squarederror"}, xgboost.DMatrix(numbers, label=numbers[:, 0]), 1
    )
    with pytest.raises(ForestError, match="binary:logistic"):
        read_forest(regression)


def test_the_strongest_contributions_are_those_of_a_stable_sort() -> None:
    rng = np.random.default_rng(7)
    # few values, so that many are equal; columns above zero may be fewer than are asked for
    for level in (-3, 0, 3):
        given = (rng.integers(-3, 4, (400, 9)) + level).astype(np.float32)
        sorted_columns = np.argsort(-given, axis=1, kind="stable")[:, :4]
        wanted = np.where(np.take_along_axis(given, sorted_columns, axis=1) > 0, sorted_columns, -1)
        np.testing.assert_array_equal(strongest(given, 4), wanted)
    assert strongest(np.zeros((0, 9), np.float32), 3).shape == (0, 3)
