"""What each threshold would do, against counting row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from features.catalogue import INDEX, WIDTH
from models.training.dataset import DAY_MS, Dataset
from models.training.threshold_effects import threshold_effects, thresholds


def rows(seed: int, n: int, frauds: float = 0.2) -> tuple[Dataset, np.ndarray]:
    chance = np.random.default_rng(seed)
    matrix = np.full((n, WIDTH), np.nan, np.float32)
    matrix[:, INDEX["amount"]] = chance.integers(1, 5000, n)
    fields = pa.table({"currency": chance.choice(["EUR", "JPY"], n)})
    at = np.sort(chance.integers(0, 3 * DAY_MS, n)).astype(np.int64)
    scores = np.round(chance.random(n), 2).astype(np.float32)
    if n:
        # on the grid's own steps, and unknown
        scores[: n // 10] = thresholds()[60]
        scores[n // 10 : n // 5] = np.nan
    return Dataset(matrix, chance.random(n) < frauds, at, np.arange(n), fields=fields), scores


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_counting_gives(seed: int) -> None:
    data, scores = rows(seed, 400)
    found = threshold_effects(data, scores)
    days = (data.event_ms.max() - data.event_ms.min()) / DAY_MS
    for place, at in enumerate(thresholds()):
        stopped = scores.astype(np.float64) >= at
        hits = int((stopped & data.fraud).sum())
        assert found["stopped_per_day"][place] == pytest.approx(stopped.sum() / days, abs=0.01)
        assert found["precision"][place] == (
            pytest.approx(hits / stopped.sum(), abs=1e-4) if stopped.any() else None
        )
        assert found["recall"][place] == pytest.approx(hits / data.fraud.sum(), abs=1e-4)
        for name in ("EUR", "JPY"):
            missed = data.amount_minor()[data.fraud & ~stopped & (data.currency() == name)].sum()
            assert found["missed_minor"][name][place] == missed


def test_nothing_and_no_frauds_have_no_share() -> None:
    for data, scores in (rows(1, 0), rows(1, 50, frauds=0)):
        found = threshold_effects(data, scores)
        assert set(found["recall"]) == {None}
        assert found["missed_minor"] == {}
    assert set(threshold_effects(*rows(1, 0))["precision"]) == {None}
