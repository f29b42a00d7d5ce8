"""The table of backends: the fastest by size, kept on disk per machine and model, measured anew when it does not fit."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.bundle.content import load_bundle
from models.scoring import backend_table as selection
from models.scoring.backend_table import KEPT_TABLES, SIZES, Table, machine, measure, table_for
from models.scoring.backends import FloatArray
from models.scoring.scorer import Scorer
from tests.support.bundle_samples import publish_sample


class Timed:
    """A backend whose calls take a fixed and a per-row time on a clock of its own."""

    def __init__(self, name: str, clock: list[float], fixed_s: float, row_s: float) -> None:
        self.name, self._clock, self._fixed_s, self._row_s = name, clock, fixed_s, row_s
        self.calls = 0

    def margin(self, matrix: FloatArray) -> FloatArray:
        self.calls += 1
        self._clock[0] += self._fixed_s + self._row_s * len(matrix)
        return np.zeros(len(matrix), np.float32)


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> list[Timed]:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    return [Timed("small", clock, 1e-6, 5e-6), Timed("large", clock, 3e-4, 1e-6)]


def sample(rows: int) -> FloatArray:
    return np.zeros((rows, 2), np.float32)


def calls(backends: list[Timed]) -> int:
    return sum(backend.calls for backend in backends)


def test_each_size_goes_to_the_fastest(backends: list[Timed]) -> None:
    table = measure(backends, sample, model="m")
    assert [(entry.rows, entry.backend) for entry in table.entries] == [
        (size, "small" if size <= 64 else "large") for size in SIZES
    ]
    assert table.entries[0].us_a_row == pytest.approx({"small": 6.0, "large": 301.0})


def test_a_kept_table_is_read_and_measured_anew_for_another_model(
    backends: list[Timed], tmp_path: Path
) -> None:
    first = table_for(backends, sample, model="m", folder=tmp_path / "tables")
    measured = calls(backends)
    assert table_for(backends, sample, model="m", folder=tmp_path / "tables") == first
    assert calls(backends) == measured
    assert table_for(backends, sample, model="other", folder=tmp_path / "tables").model == "other"
    assert calls(backends) == 2 * measured


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"not json",
        lambda _: b"\xff\xfe",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw.replace(b'"small"', b'"gone"'),
        lambda raw: raw.replace(b'"m"', b'"n"'),
        lambda raw: msgspec.json.encode(Table(machine(), "m", ())),
        lambda raw: msgspec.json.encode(Table({"processor": "another"}, "m", ())),
    ],
)
def test_a_table_that_does_not_parse_or_fit_is_measured_anew(
    backends: list[Timed], tmp_path: Path, change: object
) -> None:
    first = table_for(backends, sample, model="m", folder=tmp_path)
    [path] = tmp_path.iterdir()
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    assert (
        table_for(backends, sample, model="m", folder=tmp_path).entries[0].backend == first.entries[0].backend
    )
    assert msgspec.json.decode(path.read_bytes(), type=Table).model == "m"


def test_the_folder_is_bounded_and_may_be_unwritable(backends: list[Timed], tmp_path: Path) -> None:
    for number in range(KEPT_TABLES + 5):
        table_for(backends, sample, model=f"m{number}", folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == KEPT_TABLES
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert table_for(backends, sample, model="m", folder=blocked / "tables").entries


def test_a_scorer_keeps_its_table_and_the_next_one_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(*publish_sample(tmp_path))
    first = Scorer(bundle, tables=tmp_path / "tables")
    monkeypatch.setattr(selection, "measure", lambda *_, **__: pytest.fail("measured again"))
    second = Scorer(bundle, tables=tmp_path / "tables")
    named = [[(rows, backend.name) for rows, backend in scorer.table] for scorer in (first, second)]
    assert named[0] == named[1]
    assert [rows for rows, _ in first.table] == list(SIZES)
