"""The bench of explanations: a policy that reviews nine of ten rows, and what its lines say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.catalogue import WIDTH
from loadtest.bench.explained import publish_reviewing
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
