"""Drift over simulated time, with the real tests: quiet without a change, and each change found within its stated delay."""

from __future__ import annotations

import pytest

from loadtest.bench.drift.__main__ import scenarios
from loadtest.bench.drift.table import DRIFT_PYTHON, Line, run, shown
from loadtest.bench.drift.traffic import Maker
from models.training.learners.parameters import Parameters

pytestmark = [
    pytest.mark.skipif(
        not DRIFT_PYTHON.exists(), reason="no .venv-drift: `make setup` brings the drift stream's environment"
    ),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[Line]:
    maker = Maker(1, Parameters(rounds=60), 1_200)
    return run(maker, scenarios(1.0, quick=True), tmp_path_factory.mktemp("drift"))


def test_unchanged_traffic_gives_at_most_one_alarm_a_month(lines: list[Line]) -> None:
    quiet = [line for line in lines if line.limit is None]
    assert [line.name for line in quiet] == ["unchanged", "live-300-a-second"]
    assert all(line.holds for line in quiet) and min(line.rounds for line in quiet) >= 4, shown(lines)


def test_each_drift_is_found_within_its_delay_and_by_what_it_moves(lines: list[Line]) -> None:
    changed = {line.name: line for line in lines if line.limit is not None}
    assert all(line.holds for line in changed.values()), shown(lines)
    for name, detector in (
        ("amounts", "ks:amount"),
        ("channels", "chi2:channel"),
        ("mcc-turns-empty", "null_rate:mcc"),
    ):
        assert any(found.startswith(detector) for found in changed[name].found), shown(lines)
    assert set(changed) == {"amounts", "channels", "country", "mcc-turns-empty"}
