"""The bench of explanations: a policy that reviews nine of ten rows, and what its lines say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.catalogue import WIDTH
from loadtest.bench.explained import publish_reviewing, summary_rows
from models.bundle.content import MODEL, load_bundle
from models.bundle.registry import read_state
from models.scoring.scorer import Scorer
from streams.runtime.settings import Settings
from tests.support.bundle_samples import publish_sample


def test_the_model_is_published_again_with_a_policy_that_reviews_so_many(tmp_path: Path) -> None:
    publish_sample(tmp_path)
    settings = Settings(home=str(tmp_path))
    version = publish_reviewing(settings, "1.0.0", 0.9)
    assert version != "1.0.0"
    state = read_state(settings.bundles_dir, MODEL, version)
    assert state is not None
    assert state.state == "awaiting approval"
    bundle = load_bundle(settings.bundles_dir / MODEL / version, settings.keys_dir / "trusted")
    scorer = Scorer(bundle, measure=False)
    rows = np.full((len(bundle.reference.matrix), WIDTH), np.nan, np.float32)
    rows[:, scorer.columns] = bundle.reference.matrix
    codes, _ = scorer.decide(scorer.score(rows))
    assert float(np.mean(codes > 0)) == pytest.approx(0.9, abs=0.05)
    assert not (codes == 2).any()


def test_its_lines_name_latency_and_what_was_not_decided_in_full() -> None:
    latency, share = summary_rows(
        "first minute, ",
        {
            "latency_ms": {"p50": 9.0, "p99": 41.0, "p999": 60.0, "max": 75.0},
            "decided": {"scored": 990, "degraded": 8, "not_scored": 2}, "missing": 1, "duplicated": 0,
        },
    )  # fmt: skip
    assert (latency.middle, latency.unit, latency.at_least) == (41.0, "ms", "100")
    assert share.middle == pytest.approx(1.0)
    assert share.note == "missing or doubled: 1"
