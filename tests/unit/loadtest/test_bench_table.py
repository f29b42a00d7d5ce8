"""The table of a benchmark: medians, targets that are reached or not, the report on disk, and the machine's speed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from loadtest.bench.harness import machine_speed as bench_calibration
from loadtest.bench.harness import table
from loadtest.bench.harness.machine_speed import Speed, describe
from loadtest.bench.harness.report import short_of_targets
from loadtest.bench.harness.table import Row, left_out, markdown, shown, times, write_report


def test_the_table_says_medians_ratios_and_what_was_left_out() -> None:
    ours, theirs = (
        Row("ours", [3.0, 1.0, 2.0], "us", note="warm", where="redis 2"),
        Row("theirs", [30.0], "us"),
    )
    assert times(theirs, ours) == "15.0 x"
    assert times(left_out("none", "no Java"), ours) == times(theirs, None) == ""
    lines = markdown([ours, left_out("none", "no Java")]).splitlines()
    assert "2.00 us |  | 1.00 - 3.00 (3)" in lines[2] and "warm; redis 2" in lines[2]
    assert "not measured: no Java" in lines[3]


@pytest.mark.parametrize(
    ("runs", "at_least", "then", "more_is_better", "reached"),
    [
        ([120.0], "110", "75", False, "no"),
        ([110.0], "110", "75", False, "at least"),
        ([74.0], "110", "75", False, "then"),
        ([1_999.0], "2,000", "3,500", True, "no"),
        ([2_000.0], "2,000", "3,500", True, "at least"),
        ([9_000.0], "2,000", "3,500", True, "then"),
        ([9.0], "", "", False, ""),
        ([9.0], "stated", "10", False, "then"),
        ([11.0], "stated", "10", False, ""),
        ([], "1", "2", False, ""),
    ],
)
def test_a_line_says_which_target_it_reaches(
    runs: list[float], at_least: str, then: str, more_is_better: bool, reached: str
) -> None:
    row = Row("x", runs, "u", at_least, then, more_is_better=more_is_better)
    assert row.reached == reached
    assert runs == [] or f"| {reached} |" in markdown([row])


def test_four_runs_of_five_must_reach_a_target_where_it_says_so() -> None:
    good, one_bad, two_bad = [50.0] * 5, [50.0] * 4 + [900.0], [50.0] * 3 + [900.0] * 2
    reached = [Row("p99", runs, "ms", "100", share=0.8).reached for runs in (good, one_bad, two_bad)]
    assert reached == ["at least", "at least", "no"]
    # the median alone would pass it
    assert Row("p99", two_bad, "ms", "100").reached == "at least"
    assert (
        Row("rate", [9.0, 9.0, 9.0, 9.0, 1.0], "", "5", share=0.8, more_is_better=True).reached == "at least"
    )
    assert Row("rate", [9.0, 9.0, 9.0, 1.0, 1.0], "", "5", share=0.8, more_is_better=True).reached == "no"


def test_a_report_of_the_same_day_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(table, "REPORTS", tmp_path)
    paths = [write_report([Row(f"run {n}", [1.0])], "make bench", "scoring", "T", more=["And so on."]) for n in range(3)]  # fmt: skip
    today = date.today().isoformat()
    assert [path.name for path in paths] == [f"{today}-scoring{end}.md" for end in ("", "-2", "-3")]
    for number, path in enumerate(paths):
        assert f"| run {number} |" in path.read_text() and path.read_text().endswith("\n\nAnd so on.\n")


def test_lines_are_shown_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []

    def rows() -> object:
        yield Row("first", [1.0])
        seen.append(capsys.readouterr().out)
        yield Row("second", [2.0])

    assert [row.what for row in shown(rows())] == ["first", "second"]  # type: ignore[arg-type]
    assert "| first |" in seen[0] and "| second |" not in seen[0]
    assert "load average" in capsys.readouterr().out


def test_what_falls_short_says_where_its_time_goes() -> None:
    rows = [
        Row("stream: CPU", [150.0], "us a transaction", "110", "75", where="kafka 25, redis 30"),
        Row("stream: p99", [200.0], "ms", "100"),
        Row("HTTP single", [1_000.0], "requests/s", "2,000", more_is_better=True),
        Row("stream: p50", [5.0], "ms", "10"),
        Row("profile of the stream, 8,000/s: redis", [30.0], "us a transaction", note="SET 20"),
        Row("profile of HTTP, 1,500 requests/s: scoring-http-0", [184.0], "us a transaction", note="json 5%"),
        left_out("profile of HTTP, 1,500 requests/s: processor-0", "gone"),
    ]
    told = short_of_targets(rows).splitlines()
    assert told[2] == "- **stream: CPU**: 150.0 us a transaction, wanted 110. kafka 25, redis 30"
    assert (
        told[3]
        == "- **stream: p99**: 200.0 ms, wanted 100. profile of the stream, us a transaction: redis 30 (SET 20)"
    )
    assert "wanted 2,000. profile of HTTP, us a transaction: scoring-http-0 184 (json 5%)" in told[4]
    assert not any("p50" in line for line in told)
    assert "No profile was taken" in short_of_targets(rows[:2])
    assert short_of_targets(rows[3:4]).endswith("None.")


def test_the_calibration_loop_does_the_same_work_every_time() -> None:
    # on every machine: integers only
    assert bench_calibration.fixed_work() == 2_411_311_978
    look = bench_calibration.measure()
    assert look.cpu_ms > 0 and look.clock_ms > 0


def test_the_machines_speed_is_told_with_its_spread() -> None:
    told = describe([Speed(300.0, 300.0), Speed(330.0, 660.0), Speed(310.0, 341.0)])
    assert "310 ms of CPU, median of 3, from 300 to 330 (spread 10%)" in told
    assert told.endswith("on the clock 1.10 times its CPU time")
    assert describe([]) == ""
