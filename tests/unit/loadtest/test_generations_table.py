"""The generations table in small: the product's own parts, and what each treatment learns from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadtest.bench.learning.generations import TREATMENTS, Life, Size, Traffic
from loadtest.bench.learning.generations_table import Lives, generations_below, holds, plot, shown
from models.training.learners.parameters import Parameters

SIZE = Size(
    generations=2,
    cards=1_500,
    payments_a_week=4_000,
    fraud_rate=0.04,
    share=0.3,
    parameters=Parameters(rounds=25),
)


@pytest.fixture(scope="module")
def lives() -> Lives:
    traffic = Traffic(SIZE)
    return {treatment: Life(traffic, treatment, SIZE).generations() for treatment in TREATMENTS}


def test_all_treatments_see_the_same_payments_and_the_first_model_is_the_same(lives: Lives) -> None:
    first = [found[0] for found in lives.values()]
    assert all(np.array_equal(one.fraud, first[0].fraud) for one in first)
    # nothing was declined before it
    assert len({(one.learnt_rows, one.learnt_frauds) for one in first}) == 1
    assert first[0].declined > 20 and first[0].recall.estimate is not None and first[0].recall.estimate > 0.3


def test_only_exploration_lets_payments_through(lives: Lives) -> None:
    for treatment, found in lives.items():
        passed = sum(one.let_through for one in found)
        assert (passed > 0) == (treatment == "explored")
    explored = lives["explored"]
    declined, passed = (sum(getattr(one, name) for one in explored) for name in ("declined", "let_through"))
    assert 0.1 < passed / declined < 0.5


def test_the_table_says_what_holds_and_draws_it(lives: Lives, tmp_path: Path) -> None:
    text = shown(lives, SIZE)
    for name in TREATMENTS[1:]:
        said = "holds" if holds(lives, name) else "DOES NOT HOLD"
        line = next(line for line in text.splitlines() if line.startswith(f"- {name}:"))
        assert line.endswith(f": {said}")
    assert holds(lives, "all known") and generations_below(lives, "all known") == []
    # the worst model of all is found to be so
    blind = [replace(one, stopped=np.zeros_like(one.stopped)) for one in lives["explored"]]
    assert not holds({**lives, "explored": blind}, "explored")
    assert text.count("\n| 1 |") == text.count("\n| 2 |") == 1
    plot(lives, tmp_path / "generations.png")
    assert (tmp_path / "generations.png").stat().st_size > 10_000
