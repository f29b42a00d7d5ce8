"""Tuning: folds in the order of time with the labels' delay between, never worse than what was given, in a bounded number of trials."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from models.training.dataset import DAY_MS, DatasetError
from models.training.label_states import MATURITY_MS
from models.training.learners.parameters import Parameters
from models.training.training import bundle_content, train
from models.training.tuning import FOLDS, prequential, tuned
from tests.support.models_data import make_dataset

POOR = Parameters(rounds=50, max_depth=2, learning_rate=0.01)


def test_a_fold_is_tested_on_newer_rows_after_the_delay() -> None:
    folds = prequential(make_dataset(8_000, days=60))
    assert len(folds) == FOLDS
    for fitted, test in folds:
        assert test.event_ms[0] - fitted.event_ms[-1] >= MATURITY_MS
    newest = [test.event_ms[-1] for _, test in folds]
    assert newest == sorted(newest, reverse=True)
    for (_, later), (_, earlier) in pairwise(folds):
        assert later.event_ms[0] > earlier.event_ms[-1]


def test_too_short_a_history_says_so() -> None:
    with pytest.raises(DatasetError, match="without --tune"):
        prequential(make_dataset(2_000, days=3))


def test_what_is_found_is_better_than_poor_parameters() -> None:
    folds = prequential(make_dataset(6_000, days=60), 2, DAY_MS)
    found = tuned(folds, POOR, budget_s=600, trials=6)
    assert found.trials == 6 and found.score > found.before and found.parameters != POOR
    assert found.account() == {
        "average_precision": found.score, "before": found.before, "trials": 6, "folds": 2,
    }  # fmt: skip
    # what is not searched stays
    assert (found.parameters.kind, found.parameters.seed) == (POOR.kind, POOR.seed)


def test_a_bundle_says_how_its_parameters_were_found() -> None:
    data = make_dataset(6_000, days=90)
    trained = train(data, msgspec.structs.replace(POOR, tune_s=1e-3), policy_version="1")
    lineage = bundle_content(
        trained, created_at="2026-01-01T00:00:00Z", code_version="test", extra={}
    ).lineage
    assert lineage["tuning"] == trained.tuning and lineage["tuning"]["trials"] == 1
    given = train(data, POOR, policy_version="1")
    assert (
        "tuning"
        not in bundle_content(given, created_at="2026-01-01T00:00:00Z", code_version="test", extra={}).lineage
    )


def test_without_time_the_given_parameters_stay() -> None:
    """A trial that has begun is finished: the first one, with what was given."""
    folds = prequential(make_dataset(6_000, days=60), 1)
    found = tuned(folds, POOR, budget_s=1e-3)
    assert (found.parameters, found.trials, found.score) == (POOR, 1, found.before)
