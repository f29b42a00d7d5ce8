"""A feature's values in the reference and now, over files as the archive writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features.catalogue import NAMES
from features.feast_repo.archived import COLUMNS, SCHEMA
from models.bundle.reference import Reference
from services.console.outside import distribution as module
from services.console.outside.distribution import distribution
from streams.archive.writer import write_parquet

NEWEST = datetime(2026, 11, 20, 12, tzinfo=UTC)


def archived(folder: Path, values: dict[str, list[float]], until: datetime = NEWEST) -> None:
    """A file of payments, a minute apart, the last at ``until``."""
    (rows,) = {len(column) for column in values.values()}
    times = [until - timedelta(minutes=rows - 1 - n) for n in range(rows)]
    columns = {"event_timestamp": times} | {COLUMNS[name]: column for name, column in values.items()}
    table = pa.table(
        [pa.array(columns.get(field.name, [None] * rows), field.type) for field in SCHEMA], schema=SCHEMA
    )
    write_parquet(folder / "features" / f"date={until.date()}" / f"{until:%H%M}.parquet", table)


def reference(**columns: np.ndarray) -> Reference:
    rows = len(next(iter(columns.values())))
    matrix = np.full((rows, len(NAMES)), np.nan, np.float32)
    for name, values in columns.items():
        matrix[:, NAMES.index(name)] = values
    return Reference(matrix, np.linspace(0, 1, rows, dtype=np.float32), tuple(NAMES))


def test_the_same_values_are_the_same_tenths(tmp_path: Path) -> None:
    values = np.random.default_rng(1).permutation(1000).astype(float)
    archived(tmp_path, {"amount": values.tolist()})
    found = distribution(tmp_path, reference(amount=values), "amount")
    assert found is not None
    assert found["reference"]["shares"] == found["now"]["shares"] == pytest.approx([0.1] * 10, abs=0.002)
    assert (found["psi"], found["kind"], len(found["edges"])) == (0.0, "number", 9)


def test_what_moved_and_what_is_not_known_is_seen(tmp_path: Path) -> None:
    before = np.arange(100.0)
    archived(tmp_path, {"amount": [95.0] * 30 + [float("nan")] * 10})
    found = distribution(tmp_path, reference(amount=before), "amount")
    assert found is not None
    assert found["now"]["shares"] == [0] * 9 + [1.0]
    assert (found["now"]["unknown"], found["reference"]["unknown"]) == (0.25, 0)
    assert found["psi"] > 1


def test_a_category_has_its_values_and_one_bin_for_all_others(tmp_path: Path) -> None:
    archived(tmp_path, {"channel": [0.0, 1.0, 1.0, 7.0]})
    found = distribution(tmp_path, reference(channel=np.array([0.0, 0.0, 1.0, 1.0])), "channel")
    assert found is not None
    assert (found["kind"], found["edges"]) == ("category", [0.0, 1.0])
    assert found["now"]["shares"] == [0.25, 0.5, 0.25]


def test_it_reads_the_newest_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 5)
    archived(tmp_path, {"amount": [1.0] * 5}, NEWEST - timedelta(days=3))
    archived(tmp_path, {"amount": [9.0] * 4}, NEWEST)
    archived(tmp_path, {"amount": [8.0] * 4}, NEWEST - timedelta(hours=3))
    found = distribution(tmp_path, reference(amount=np.array([0.0, 8.5])), "amount")
    assert found is not None
    assert (found["now"]["rows"], found["now"]["to"]) == (5, NEWEST.isoformat())
    # four of the newest file, one of the file before, none of three days before
    assert (
        sum(share for edge, share in zip(found["edges"], found["now"]["shares"], strict=False) if edge < 1)
        == 0
    )


def test_of_what_is_not_there_nothing_is_said(tmp_path: Path) -> None:
    assert distribution(tmp_path, reference(amount=np.arange(3.0)), "amount") is None
    archived(tmp_path, {"amount": [1.0]})
    assert distribution(tmp_path, reference(amount=np.arange(3.0)), "no_such_feature") is None
    assert distribution(tmp_path, reference(amount=np.arange(3.0)), "score") is None
