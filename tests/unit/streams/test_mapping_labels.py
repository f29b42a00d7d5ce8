"""Labels of foreign files: numbers match as numbers do, and what is neither fraud nor honest gives no label."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.mapping import MappingError
from tests.support.mapped_files import mapping_text, report_of, rows_of, write_csv


def labels_of(folder: Path, rule: str, *cells: str) -> list[str | None]:
    path = write_csv(folder, "l,x", *(f"{cell}," for cell in cells))
    return [row["label"] for row in rows_of(path, mapping_text("", tables=f'[label]\ncolumn = "l"\n{rule}'))]


@pytest.mark.parametrize("fraud", ["1", "1.0", "true", '"1"', '"1.0"', '"True"', "[1]"])
def test_one_is_one_however_it_is_written(tmp_path: Path, fraud: str) -> None:
    found = labels_of(
        tmp_path, f"fraud = {fraud}", "1", "1.0", "true", "TRUE", " 1 ", "01", "0", "0.0", "False", ""
    )
    assert found == ["fraud"] * 6 + ["legit"] * 3 + [None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([True, False, None]),
        pa.array([1, 0, None], pa.int8()),
        pa.array([1.0, 0.0, float("nan")]),
        pa.array(["1", "0", ""]).dictionary_encode(),
    ],
)
def test_every_type_of_column_gives_the_same_labels(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"l": column}), path)
    rows = rows_of(path, mapping_text("", tables='[label]\ncolumn = "l"\nfraud = 1'))
    assert [row["label"] for row in rows] == ["fraud", "legit", None]


def test_other_values_give_no_label_and_are_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "l,x", "1,", "0,", "2,", "2,", "maybe,", ",")
    text = mapping_text("", tables='[label]\ncolumn = "l"\nfraud = 1')
    assert [row["label"] for row in rows_of(path, text)] == ["fraud", "legit", None, None, None, None]
    report = report_of(path, text).to_json()
    assert report["labels"] == {"fraud": 1, "legit": 1, "none": 4}
    assert report["label_values"] == {"1": 1, "0": 1, "2": 2, "maybe": 1}
    (note,) = report["notes"]
    assert "3 rows have no label: '2' (2), 'maybe' (1)" in note


def test_honest_values_are_those_that_are_stated(tmp_path: Path) -> None:
    cells = "Chargeback", "OK", "pending", "friendly", "settled"
    rule = 'fraud = ["chargeback", "Friendly"]\nhonest = ["ok", "settled"]'
    assert labels_of(tmp_path, rule, *cells) == ["fraud", "legit", None, "fraud", "legit"]
    # nothing is stated, and OK is no plain opposite of a chargeback
    assert labels_of(tmp_path, 'fraud = "Chargeback"', *cells) == ["fraud", None, None, None, None]
    assert labels_of(tmp_path, 'fraud = "Y"', "Y", "n", "N", "") == ["fraud", "legit", "legit", None]
    assert labels_of(tmp_path, 'fraud = "Y"\nlegit = false', "Y", "N") == ["fraud", None]


def test_a_fraud_value_that_nobody_has_stops_with_the_values_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(
        MappingError, match=r"no row has fraud = 'Y' in column l; its values are '0' \(2\), '1' \(1\)"
    ) as error:
        labels_of(tmp_path, 'fraud = "Y"', "0", "1", "0")
    assert error.value.exit_code == 2
    with pytest.raises(MappingError, match="its values are all empty"):
        labels_of(tmp_path, "fraud = 1", "", "")


def test_any_value_may_mean_fraud_and_the_empty_cell_honest(tmp_path: Path) -> None:
    """A column that holds the date of a chargeback."""
    cells = "2026-01-05", "", "05/02/2026", " ", "none"
    # blanks alone are an empty cell
    either = ["fraud", "legit", "fraud", "legit", "fraud"]
    assert labels_of(tmp_path, 'fraud = "*"\nhonest = ""', *cells) == either
    assert labels_of(tmp_path, 'fraud = "*"\nhonest = ["", "none"]', *cells) == [*either[:4], "legit"]
    # what an empty cell means is not guessed
    assert labels_of(tmp_path, 'fraud = "*"', *cells) == ["fraud", None, "fraud", None, "fraud"]
    assert labels_of(tmp_path, 'fraud = "F"\nhonest = ""', "F", "", "G") == ["fraud", "legit", None]
    path = write_csv(tmp_path, "l,x", *(f"{cell}," for cell in cells))
    report = report_of(
        path, mapping_text("", tables='[label]\ncolumn = "l"\nfraud = "*"\nhonest = ["", "none"]')
    )
    assert (report.to_json()["labels"], report.remarks) == ({"fraud": 2, "legit": 3, "none": 0}, [])
    with pytest.raises(MappingError, match="its values are 'none' \\(2\\)"):
        labels_of(tmp_path, 'fraud = "*"\nhonest = "none"', "none", "none", "")


def test_a_parquet_column_of_chargeback_dates_needs_no_spelling(tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"l": pa.array([date(2026, 1, 5), None])}), path)
    rows = rows_of(path, mapping_text("", tables='[label]\ncolumn = "l"\nfraud = "*"\nhonest = ""'))
    assert [row["label"] for row in rows] == ["fraud", "legit"]
