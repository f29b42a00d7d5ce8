"""The scorer: every backend gives the same scores, reasons speak the catalogue's words, bad models are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import FEATURES, INDEX, NAMES, WIDTH
from features.vector_layouts import OWN
from models.bundle.content import BundleRefused, load_bundle
from models.scoring.backend_table import SIZES
from models.scoring.backends import ForestBackend, XgboostBackend
from models.scoring.forest import ForestError
from models.scoring.onnx_export import to_onnx
from models.scoring.scorer import TOLERANCE, Scorer
from models.training.learners.parameters import Parameters
from models.training.training import fit
from tests.support.bundle_samples import QUICK, publish_sample, trained
from tests.support.catalogue_samples import AFTER, BEFORE, NEW, bundle_before, margins_before
from tests.support.models_data import make_dataset


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    path, trusted = publish_sample(tmp_path_factory.mktemp("scorer"))
    made = Scorer(load_bundle(path, trusted))
    made.warm((1, 32))
    return made


def extreme_rows() -> np.ndarray:
    big = np.finfo(np.float32).max
    values = [np.nan, np.inf, -np.inf, big, -big, 0.0, -0.0, 1e-45, 1.0]
    rows = np.array([[value] * WIDTH for value in values], np.float32)
    mixed = np.random.default_rng(5).choice(np.array(values, np.float32), (200, WIDTH))
    return np.concatenate([rows, mixed])


def assert_backends_agree(scorer: Scorer, matrix: np.ndarray) -> np.ndarray:
    scores = [scorer.bundle.calibration.apply(backend.margin(matrix)) for backend in scorer.backends]
    assert {"forest", "onnxruntime", "xgboost"} <= {backend.name for backend in scorer.backends}
    for other in scores[1:]:
        assert other.shape == (len(matrix),)
        np.testing.assert_allclose(scores[0], other, atol=TOLERANCE, rtol=0)
    return scores[0]


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 33, 300])
def test_backends_agree(scorer: Scorer, rows: int) -> None:
    matrix = make_dataset(rows + 20, seed=rows).matrix[:rows]
    assert_backends_agree(scorer, matrix)
    np.testing.assert_allclose(scorer.score(matrix), trained().score(matrix), atol=TOLERANCE, rtol=0)


def test_backends_agree_on_extremes(scorer: Scorer) -> None:
    scores = assert_backends_agree(scorer, extreme_rows())
    assert np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_backends_agree_on_any_row(scorer: Scorer, data: st.DataObject) -> None:
    values = st.floats(width=32, allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -1.0, np.nan])
    seen = data.draw(st.dictionaries(st.integers(0, WIDTH - 1), values, max_size=WIDTH))
    fill = data.draw(values)
    row = np.full((1, WIDTH), fill, np.float32)
    for column, value in seen.items():
        row[0, column] = value
    assert_backends_agree(scorer, row)


def test_backends_agree_where_a_value_is_a_split(scorer: Scorer) -> None:
    frame = trained().booster.trees_to_dataframe()
    splits = frame[frame.Feature != "Leaf"]
    matrix = make_dataset(len(splits) + 20).matrix[: len(splits)].copy()
    columns = splits.Feature.str.lstrip("f").astype(int).to_numpy()
    matrix[np.arange(len(splits)), columns] = splits.Split.to_numpy(np.float32)
    assert_backends_agree(scorer, matrix)


def test_a_booster_without_a_compiled_form_is_served_by_the_others(scorer: Scorer) -> None:
    deep = fit(make_dataset(3_000), Parameters(rounds=3, max_depth=9, min_child_weight=0.1, reg_lambda=0.1))
    ubj = bytes(deep.save_raw("ubj"))
    with pytest.raises(ForestError, match="depth"):
        ForestBackend(deep)
    other = Scorer(dataclasses.replace(scorer.bundle, model_ubj=ubj, model_onnx=to_onnx(deep)), measure=False)
    matrix = make_dataset(200, seed=4).matrix
    assert [backend.name for backend in other.backends] == ["onnxruntime", "xgboost"]
    np.testing.assert_allclose(
        other.score(matrix), scorer.bundle.calibration.apply(deep.inplace_predict(matrix, predict_type="margin")),
        atol=TOLERANCE, rtol=0,
    )  # fmt: skip
    assert len(other.explain(extreme_rows())) == len(extreme_rows())


def test_a_scorer_like_the_one_at_work_measures_nothing(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "models.scoring.scorer.table_for", lambda *_, **__: pytest.fail("measured beside traffic")
    )
    made = Scorer(scorer.bundle, like=scorer)
    assert [(rows, used.name) for rows, used in made.table] == [
        (rows, used.name) for rows, used in scorer.table
    ]
    assert all(used in made.backends for _, used in made.table)


def test_with_other_backends_than_the_one_at_work_it_is_measured(scorer: Scorer) -> None:
    deep = fit(make_dataset(3_000), Parameters(rounds=3, max_depth=9, min_child_weight=0.1, reg_lambda=0.1))
    bundle = dataclasses.replace(
        scorer.bundle, model_ubj=bytes(deep.save_raw("ubj")), model_onnx=to_onnx(deep)
    )
    assert [rows for rows, _ in Scorer(bundle, like=scorer).table] == list(SIZES)


def test_a_row_scores_the_same_in_any_batch(scorer: Scorer) -> None:
    matrix = make_dataset(500, seed=9).matrix
    alone = np.concatenate([scorer.score(matrix[row : row + 1]) for row in range(40)])
    np.testing.assert_allclose(alone, scorer.score(matrix)[:40], atol=TOLERANCE, rtol=0)


def test_the_score_means_something(scorer: Scorer) -> None:
    data = make_dataset(3_000, seed=21)
    scores = scorer.score(data.matrix)
    assert scores[data.fraud].mean() > 3 * scores[~data.fraud].mean()
    assert abs(scores.mean() - data.fraud.mean()) < 0.02


def test_nothing_and_the_wrong_width(scorer: Scorer) -> None:
    assert scorer.score(np.empty((0, WIDTH), np.float32)).shape == (0,)
    assert scorer.explain(np.empty((0, WIDTH), np.float32)) == []
    with pytest.raises(ValueError, match="features must be"):
        scorer.score(np.zeros((1, WIDTH + 1), np.float32))


def test_reasons_speak_the_catalogues_words(scorer: Scorer) -> None:
    data = make_dataset(3_000, seed=21)
    worst = data.matrix[np.argsort(-scorer.score(data.matrix))[:5]]
    codes = {feature.reason_code for feature in FEATURES}
    for reasons in scorer.explain(worst, k=3):
        assert 1 <= len(reasons) <= 3
        assert all(code in codes and text and contribution > 0 for code, text, contribution in reasons)
        assert [r[2] for r in reasons] == sorted((r[2] for r in reasons), reverse=True)
    found = {code for reasons in scorer.explain(worst) for code, _, _ in reasons}
    assert found & {"AMOUNT", "CARD_COUNT_1H"}, (
        "the two columns that make fraud here are not among the reasons"
    )
    assert len(scorer.explain(extreme_rows())) == len(extreme_rows())


def test_two_forms_that_disagree_are_refused(scorer: Scorer) -> None:
    other = make_dataset(3_000, seed=99)
    with pytest.raises(BundleRefused, match="differ"):
        Scorer(dataclasses.replace(scorer.bundle, model_onnx=to_onnx(fit(other, QUICK))))


@pytest.mark.parametrize("name", ["model_ubj", "model_onnx"])
def test_a_model_that_does_not_load_is_refused(scorer: Scorer, name: str) -> None:
    with pytest.raises(BundleRefused):
        Scorer(dataclasses.replace(scorer.bundle, **{name: b"nonsense"}))


@pytest.fixture(scope="module")
def scorer_before(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    made = Scorer(bundle_before(tmp_path_factory.mktemp("before")), measure=False)
    made.warm((1, 32))
    return made


def test_a_model_of_an_older_catalogue_takes_its_columns_out_of_todays_vector(scorer_before: Scorer) -> None:
    matrix = make_dataset(30, seed=8).matrix
    expected = scorer_before.bundle.calibration.apply(margins_before(matrix))
    found = scorer_before.score(matrix)
    assert (found.view(np.uint32) == expected.view(np.uint32)).all()
    # what it never learnt from changes nothing
    new = [INDEX[name] for name in NEW]
    changed = matrix.copy()
    changed[:, new] = 1e6
    assert (scorer_before.score(changed) == found).all()
    assert len(scorer_before.columns) == WIDTH - len(NEW) and not set(new) & set(scorer_before.columns)


def test_reasons_of_an_older_model_name_the_entries_it_read(scorer_before: Scorer) -> None:
    matrix = make_dataset(300, seed=21).matrix
    columns = [NAMES.index(name) for name in BEFORE.names]
    shap = XgboostBackend(scorer_before.bundle.model_ubj).contributions(matrix[:, columns])
    # what is unknown is no reason
    shap[np.isnan(matrix[:, columns])] = 0
    codes = {feature.name: feature.reason_code for feature in FEATURES}
    checked = 0
    for row, reasons in enumerate(scorer_before.explain(matrix, k=1)):
        strongest, second = np.sort(shap[row])[[-1, -2]]
        if reasons and strongest > max(second + 1e-4, 0):
            assert reasons[0][0] == codes[BEFORE.names[int(np.argmax(shap[row]))]]
            checked += 1
    assert checked > 100


def test_a_model_that_reads_what_this_code_has_not_is_refused(scorer: Scorer) -> None:
    for other in (AFTER, dataclasses.replace(BEFORE, catalogue=OWN.catalogue)):
        with pytest.raises(BundleRefused) as caught:
            Scorer(dataclasses.replace(scorer.bundle, layout=other), measure=False)
        assert caught.value.reason == "catalogue"
