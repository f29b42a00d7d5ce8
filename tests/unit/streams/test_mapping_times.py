"""Times of foreign files: every option is carried out, offsets are read by a grammar, changes of clocks are said."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.mapping import MappingError, parse_mapping
from tests.support.mapped_files import mapping_text, report_of, rows_of, write_csv


def times_of(folder: Path, rule: str, *cells: str, zone: str = "UTC", header: str = "t") -> list[str]:
    path = write_csv(folder, header, *cells)
    rows = rows_of(path, mapping_text(f"event_time = {rule}", top=f'zone = "{zone}"'))
    return [row["event_time"].isoformat().replace("+00:00", "Z") for row in rows]


@pytest.mark.parametrize(
    ("rule", "header", "cells", "right"),
    [
        ('{ column = ["d", "t"], template = "{}T{}" }', "d,t", "2012-01-03,12:07:06", "2012-01-03T12:07:06Z"),
        ('{ column = ["d", "t"], template = "{} {}" }', "d,t", "2012-01-03,12:07", "2012-01-03T12:07:00Z"),
        ('{ column = ["y", "m", "d", "t"], template = "{}-{}-{}T{}" }', "y,m,d,t", "2002,9,1,06:21", "2002-09-01T06:21:00Z"),
        ('{ column = ["y", "m", "d", "t"], template = "{}-{}-{} {}", format = "%Y-%m-%d %H:%M" }', "y,m,d,t", "2002,9,1,6:21", "2002-09-01T06:21:00Z"),
        ('{ column = ["d", "t"], template = "{} {}", format = "%d/%m/%Y %I:%M %p" }', "d,t", "03/01/2012,12:07 PM", "2012-01-03T12:07:00Z"),
        ('{ column = "t", template = "{}T08:00:00+02:00" }', "t", "2012-01-03", "2012-01-03T06:00:00Z"),
    ],
)  # fmt: skip
def test_a_time_of_several_columns_is_put_together(
    tmp_path: Path, rule: str, header: str, cells: str, right: str
) -> None:
    assert times_of(tmp_path, rule, cells, header=header) == [right]


def test_date_and_time_columns_of_parquet_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    midnight = pa.array([datetime(2012, 1, 3)], pa.timestamp("ns"))
    pq.write_table(pa.table({"d": [date(2012, 1, 3)], "stamp": midnight, "t": [time(12, 7, 6)]}), path)
    for column in ("d", "stamp"):
        text = mapping_text(f'event_time = {{ column = ["{column}", "t"], template = "{{}}T{{}}" }}')
        assert rows_of(path, text)[0]["event_time"] == datetime(2012, 1, 3, 12, 7, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "form", "right"),
    [
        ("01-07-2026", "%d-%m-%Y", "2026-06-30T22:00:00Z"),
        ("01-07-2026 12:00", "%d-%m-%Y %H:%M", "2026-07-01T10:00:00Z"),
        ("01-07-2026 12:00 +0500", "%d-%m-%Y %H:%M", "2026-07-01T07:00:00Z"),
        ("01-07-2026 12:00", "%d-%m-%Y %H:%M %z", "2026-07-01T10:00:00Z"),
        ("01-07-2026 12:00 -0300", "%d-%m-%Y %H:%M %z", "2026-07-01T15:00:00Z"),
        ("Wed Jul 01 12:00:00 +0000 2026", "%a %b %d %H:%M:%S %z %Y", "2026-07-01T12:00:00Z"),
        ("12.00-0300", "%H.%M-%d%m", None),
        ("2026-07-01", None, "2026-06-30T22:00:00Z"),
        ("2026-07-01T12:00", None, "2026-07-01T10:00:00Z"),
        ("2040-07-01T12:00", None, "2040-07-01T10:00:00Z"),
        ("2040-01-01T12:00", None, "2040-01-01T11:00:00Z"),
        ("2026-07-01 12:00:00.25", None, "2026-07-01T10:00:00.250000Z"),
        ("2026-07-01T12:00:00Z", None, "2026-07-01T12:00:00Z"),
        ("2026-07-01 12:00:00 UTC", None, "2026-07-01T12:00:00Z"),
        ("2026-07-01T12:00:00-07", None, "2026-07-01T19:00:00Z"),
        ("2026-07-01T12:00:00-07:00[America/Los_Angeles]", None, "2026-07-01T19:00:00Z"),
        ("2026-07-01T12:00:00[America/Los_Angeles]", None, None),
        ("2026-07-01T12:00:00+0530", None, "2026-07-01T06:30:00Z"),
        ("20260701T120000", None, "2026-07-01T10:00:00Z"),
        ("20260701", None, "2026-06-30T22:00:00Z"),
        ("2026/7/1 6:05", None, "2026-07-01T04:05:00Z"),
        ("2026-02-29", None, None),
        ("2026-13-01", None, None),
        ("2026-07-01T24:00:00", None, None),
        ("2026-07-01T12:00:00+25:00", None, None),
        ("01-07-2026", None, None),
        ("1782864000", None, None),
    ],
)
def test_an_own_offset_holds_and_a_date_has_none(
    tmp_path: Path, cell: str, form: str | None, right: str | None
) -> None:
    rule = '{ column = "t" }' if form is None else f'{{ column = "t", format = "{form}" }}'
    good = "2026-01-01T00:00:00Z" if form is None else "never read"
    path = write_csv(tmp_path, "t,x", f"{cell},1", f"{good},2")
    text = mapping_text(f"event_time = {rule}", top='zone = "Europe/Amsterdam"')
    if form is not None and right is None:
        with pytest.raises(Exception, match="no row is a transaction"):
            rows_of(path, text)
        return
    found = {
        row["transaction_id"]: row["event_time"].isoformat().replace("+00:00", "Z")
        for row in rows_of(path, text)
    }
    assert found.get("t1") == right


def test_clocks_that_change_are_said_with_the_rule(tmp_path: Path) -> None:
    cells = ["2026-10-25T02:30:00", "2026-03-29T02:30:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00"]
    path = write_csv(tmp_path, "t", *cells)
    text = mapping_text('event_time = "t"', top='zone = "Europe/Paris"')
    found = [row["event_time"].isoformat() for row in rows_of(path, text)]
    assert found == [
        "2026-10-25T00:30:00+00:00",
        "2026-03-29T01:00:00+00:00",
        "2026-10-25T01:30:00+00:00",
        "2026-10-25T02:30:00+00:00",
    ]
    notes = report_of(path, text).to_json()["notes"]
    assert len(notes) == 2
    assert (
        "1 rows: event_time comes twice" in notes[0] and "first of both" in notes[0] and "row 1" in notes[0]
    )
    assert "never comes" in notes[1] and "moment of the jump" in notes[1] and "row 2" in notes[1]


ZONED = mapping_text('event_time = "t"', top='zone = { column = "tz", map = { lokal = "Europe/Amsterdam" } }')


@pytest.mark.parametrize(
    ("cell", "zone", "right"),
    [
        ("2026-07-01 12:07", "Europe/Amsterdam", "2026-07-01T10:07:00Z"),
        ("2026-01-01 12:07", " Europe/Amsterdam ", "2026-01-01T11:07:00Z"),
        ("2040-07-01 12:07", "Europe/Amsterdam", "2040-07-01T10:07:00Z"),
        ("2026-07-01 12:07", "lokal", "2026-07-01T10:07:00Z"),
        ("2026-07-01 12:07", "+05:30", "2026-07-01T06:37:00Z"),
        ("2026-07-01 12:07", "-0330", "2026-07-01T15:37:00Z"),
        ("2026-07-01 12:07", "2", "2026-07-01T10:07:00Z"),
        ("2026-07-01 12:07", "-5", "2026-07-01T17:07:00Z"),
        ("2026-07-01 12:07", "UTC+3", "2026-07-01T09:07:00Z"),
        ("2026-07-01 12:07", "GMT-03:00", "2026-07-01T15:07:00Z"),
        ("2026-07-01 12:07", "Etc/GMT+3", "2026-07-01T15:07:00Z"),
        ("2026-07-01 12:07", "Z", "2026-07-01T12:07:00Z"),
        ("2026-07-01 12:07", "utc", "2026-07-01T12:07:00Z"),
        # its own offset holds, whatever the zone is
        ("2026-07-01 12:07+01:00", "Europe/Amsterdam", "2026-07-01T11:07:00Z"),
        ("2026-07-01 12:07Z", "", "2026-07-01T12:07:00Z"),
        ("2026-07-01 12:07", "", None),
        ("2026-07-01 12:07", "Mars/Phobos", None),
        ("2026-07-01 12:07", "Romance Standard Time", None),
        ("2026-07-01 12:07", "+15:00", None),
        ("2026-07-01 12:07", "120", None),
        ("2026-07-01 12:07", "../../etc/passwd", None),
    ],
)
def test_a_zone_in_a_column_of_its_own(tmp_path: Path, cell: str, zone: str, right: str | None) -> None:
    path = write_csv(
        tmp_path, "t,tz", "2026-01-01 00:00,UTC", f"{cell},{zone}", "2026-01-01 00:00,Asia/Tokyo"
    )
    rows = {
        row["transaction_id"]: row["event_time"].isoformat().replace("+00:00", "Z")
        for row in rows_of(path, ZONED)
    }
    assert (rows.pop("t1"), rows.pop("t3")) == ("2026-01-01T00:00:00Z", "2025-12-31T15:00:00Z")
    assert rows.get("t2") == right
    report = report_of(path, ZONED).to_json()
    assert report["ignored_columns"] == []
    if right is None:
        (reason,) = report["reasons"]
        assert reason["reason"] == "event_time has no zone that is known, such as Europe/Paris or +02:00"
        assert (reason["row"], reason["value"]) == (2, repr(f"{cell} {zone}".strip()))


def test_clocks_that_change_in_one_of_many_zones_are_said(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "t,tz", "2026-10-25T02:30:00,Europe/Paris", "2026-10-25T02:30:00,Asia/Tokyo",
                     "2026-03-29T02:30:00,Europe/Paris", "2026-03-29T02:30:00,America/New_York")  # fmt: skip
    assert [row["event_time"].isoformat() for row in rows_of(path, ZONED)] == [
        "2026-10-25T00:30:00+00:00", "2026-10-24T17:30:00+00:00", "2026-03-29T01:00:00+00:00", "2026-03-29T06:30:00+00:00",
    ]  # fmt: skip
    twice, never = report_of(path, ZONED).to_json()["notes"]
    assert (
        twice.startswith("1 rows: event_time comes twice when clocks change in its zone") and "row 1" in twice
    )
    assert never.startswith("1 rows: event_time never comes") and "row 3" in never


def test_zones_of_typed_times_and_of_counts_from_a_local_start(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    noon = pa.array([datetime(2026, 7, 1, 12)] * 2, pa.timestamp("us"))
    zones = pa.array(["Asia/Tokyo", "Europe/Paris"]).dictionary_encode()
    pq.write_table(
        pa.table({"t": noon, "tz": zones, "offset": pa.array([9, 2], pa.int8()), "days": [46204.5] * 2}), path
    )
    right = [datetime(2026, 7, 1, 3, tzinfo=UTC), datetime(2026, 7, 1, 10, tzinfo=UTC)]
    days = '{ column = "days", epoch = { unit = "d", from = "1899-12-30T00:00:00" } }'
    for rule, column in (('"t"', "tz"), ('"t"', "offset"), (days, "tz")):
        text = mapping_text(f"event_time = {rule}", top=f'zone = {{ column = "{column}" }}')
        assert [row["event_time"] for row in rows_of(path, text)] == right


@pytest.mark.parametrize(
    "zone", ['"Mars/Phobos"', '{ column = "tz", map = { X = "Mars/Phobos" } }', '"+15:00"']
)
def test_a_zone_that_is_none_is_refused_in_the_mapping(zone: str) -> None:
    with pytest.raises(MappingError, match="no time zone"):
        parse_mapping(mapping_text("", top=f"zone = {zone}").encode(), "test")


@pytest.mark.parametrize(
    ("epoch", "cell", "right"),
    [
        ('"s"', "1782907200", "2026-07-01T12:00:00Z"),
        ('"ms"', "1782907200250", "2026-07-01T12:00:00.250000Z"),
        ('"us"', "1782907200250000", "2026-07-01T12:00:00.250000Z"),
        ('"ns"', "1782907200250000000", "2026-07-01T12:00:00.250000Z"),
        ('{ unit = "h", from = "2026-01-01T00:00:00Z" }', "36", "2026-01-02T12:00:00Z"),
        ('{ unit = "h", from = 2026-01-01T00:00:00Z }', "36", "2026-01-02T12:00:00Z"),
        ('{ unit = "s", from = "2013-09-01T00:00:00Z" }', "406.0", "2013-09-01T00:06:46Z"),
        ('{ unit = "min", from = "2026-01-01T00:00:00+01:00" }', "1.5", "2025-12-31T23:01:30Z"),
        # a spreadsheet counts days on the wall clock
        ('{ unit = "d", from = "1899-12-30T00:00:00" }', "46204.5", "2026-07-01T10:00:00Z"),
    ],
)
def test_counts_from_a_start(tmp_path: Path, epoch: str, cell: str, right: str) -> None:
    rule = f'{{ column = "t", epoch = {epoch} }}'
    assert times_of(tmp_path, rule, cell, zone="Europe/Amsterdam") == [right]


@pytest.mark.parametrize(
    ("kind", "right"),
    [
        (pa.timestamp("ns"), datetime(2026, 6, 30, 22, tzinfo=UTC)),
        (pa.timestamp("s"), datetime(2026, 6, 30, 22, tzinfo=UTC)),
        (pa.timestamp("us", tz="Asia/Tokyo"), datetime(2026, 7, 1, tzinfo=UTC)),
        (pa.date32(), datetime(2026, 6, 30, 22, tzinfo=UTC)),
        (pa.date64(), datetime(2026, 6, 30, 22, tzinfo=UTC)),
    ],
)
def test_typed_times(tmp_path: Path, kind: pa.DataType, right: datetime) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"t": pa.array([datetime(2026, 7, 1, tzinfo=UTC)], kind)}), path)
    (row,) = rows_of(path, mapping_text('event_time = "t"', top='zone = "Europe/Amsterdam"'))
    assert row["event_time"] == right


@pytest.mark.parametrize("name", ["replayed", "trained on"])
def test_order_by_the_time_is_the_order_of_time(tmp_path: Path, name: str) -> None:
    path = write_csv(tmp_path, "t", "02-01-2026", "01-02-2026", "31-01-2025", "15-01-2026")
    fields = 'event_time = { column = "t", format = "%d-%m-%Y" }'
    order = "t" if name == "replayed" else "event_time"
    rows = rows_of(path, mapping_text(fields, top=f'order_by = "{order}"'))
    assert [row["transaction_id"] for row in rows] == ["t3", "t1", "t4", "t2"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_column_of_durations_counts_in_its_own_unit(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"t": pa.array([timedelta(hours=36)], pa.duration(unit))}), path)
    text = mapping_text(
        'event_time = { column = "t", epoch = { unit = "h", from = "2026-01-01T00:00:00Z" } }'
    )
    assert rows_of(path, text)[0]["event_time"] == datetime(2026, 1, 2, 12, tzinfo=UTC)
