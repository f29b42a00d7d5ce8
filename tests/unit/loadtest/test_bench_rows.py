"""What ``make bench`` prints: a line for every figure of the budget, measured or with the reason why not. No stack."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from loadtest.bench import scaling as bench_scaling
from loadtest.bench import stream as bench_stream
from loadtest.bench import whole_table as bench
from loadtest.bench.harness.machine_speed import Speed
from loadtest.bench.harness.running_stack import StackError
from loadtest.bench.harness.table import Row, markdown
from loadtest.bench.http_load.measuring import OfferError
from loadtest.bench.models import gpu as bench_gpu
from loadtest.bench.models import swap as bench_swap
from streams.runtime.settings import Settings, load_settings
from tests.support.stream_runs import summary


@pytest.fixture(autouse=True)
def quick_look_at_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the fixed loop, which takes half a second of a free core."""
    monkeypatch.setattr(bench.bench_calibration, "measure", lambda: Speed(150.0, 160.0))


class Stack:
    """Answers each run by its rate: a summary, or an error."""

    def __init__(self, answers: dict[int, dict[str, Any] | Exception]) -> None:
        self.answers, self.asked = answers, []  # type: tuple[dict[int, Any], list[int]]

    def __call__(self, _home: str, rate: int, _seconds: float, _seed: int) -> dict[str, Any]:
        self.asked.append(rate)
        answer = self.answers[rate]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


def stream_rows(
    monkeypatch: pytest.MonkeyPatch, answers: dict[int, dict[str, Any] | Exception]
) -> tuple[list[Row], list[int]]:
    stack = Stack(answers)
    monkeypatch.setattr(bench_stream, "simulate", stack)
    found = bench_stream.measure("home", bench_stream.RATES, 2, 60)
    return [row for runs in found for row in bench_stream.stream_rows(runs, 60)], stack.asked


#: lines of a rate
LINES = ["p50", "p99", "degraded or not scored", "missing or doubled", "CPU, all processes"]


def test_every_rate_of_the_budget_is_offered() -> None:
    assert set(bench_stream.RATES) == set(bench_stream._TARGETS) == {1_000, 10_000, 20_000}


def test_each_rate_has_its_lines_beside_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, asked = stream_rows(
        monkeypatch, {1_000: summary(8, 15), 10_000: summary(33, 73), 20_000: summary(2_063, 3_345, 3)}
    )
    # one run of each to get warm, then two, whether a rate is sustained or not
    assert asked == [1_000] * 3 + [10_000] * 3 + [20_000] * 3
    assert [row.what.rpartition(": ")[2] for row in rows] == LINES * 3
    assert {len(row.runs) for row in rows} == {2}
    at = {row.what.removeprefix("stream, ").replace(" for 60 s", ""): row for row in rows}
    targets = {name: (row.at_least, row.then) for name, row in at.items() if row.at_least or row.then}
    assert targets == {
        "1,000/s: p50": ("10", "5"), "1,000/s: p99": ("40", "15"), "1,000/s: missing or doubled": ("0", "0"),
        "10,000/s: p99": ("100", ""), "10,000/s: degraded or not scored": ("1", ""), "10,000/s: missing or doubled": ("0", "0"),
        "10,000/s: CPU, all processes": ("110", "75"),
        "20,000/s: p99": ("", "100"), "20,000/s: missing or doubled": ("0", "0"),
    }  # fmt: skip
    reached = {name: at[name].reached for name in targets}
    assert reached["1,000/s: p50"] == "at least" and reached["1,000/s: p99"] == "then"
    assert reached["10,000/s: CPU, all processes"] == "at least"
    assert reached["20,000/s: missing or doubled"] == "no" and reached["20,000/s: p99"] == ""
    assert at["10,000/s: CPU, all processes"].where == "processor-0 40"
    assert "1,063 labels a run" in at["1,000/s: CPU, all processes"].note


def test_what_is_degraded_or_not_scored_is_told_in_percent() -> None:
    told = {**summary(8, 15), "decided": {"scored": 96, "degraded": 3, "not_scored": 1}}
    assert bench_stream.Runs(1_000, [told]).degraded() == [pytest.approx(4.0)]


def test_a_run_that_fails_leaves_its_rows_and_those_above(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = bench_stream.RunFailed("10,000/s: exit 3: no broker")
    rows, asked = stream_rows(monkeypatch, {1_000: summary(8, 15), 10_000: failed})
    assert asked == [1_000] * 3 + [10_000]
    assert [len(row.runs) for row in rows] == [2] * 5 + [0] * 10
    assert all(row.note == "not measured: 10,000/s: exit 3: no broker" for row in rows[5:])


def test_without_a_stack_each_rate_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def broken(*_: object) -> Iterator[Any]:
        raise StackError("`tollgate up` failed")
        yield

    monkeypatch.setattr(bench, "running_stack", broken)
    size = bench.Size(1, 1.0, bench_stream.RATES)
    found = bench.Found()
    rows = list(bench.measure(["stream", "swap"], size, found))
    assert len(rows) == len(LINES) * len(bench_stream.RATES) + 1 + 2
    machine = [row for row in rows if row.what.startswith("machine: ")]
    # a look at the machine before and after each section
    assert [len(row.runs) for row in machine] == [2, 2] and len(found.looks) == 4
    assert {row.note for row in rows if row not in machine} == {"not measured: `tollgate up` failed"}


def test_the_gpu_has_its_two_rows_beside_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "what_a_gpu_needs", lambda: "an NVIDIA GPU")
    rows = list(bench.measure(["gpu"], bench.Size(1, 1.0, ()), bench.Found()))[:2]
    assert [(row.at_least, row.then) for row in rows] == [("5", "10"), ("2", "1")]
    assert all(row.note == "not measured: an NVIDIA GPU" for row in rows)
    assert "4096" in rows[0].what and "256" in rows[1].what
    assert "| 5 | 10 |" in markdown(rows)


def test_a_swap_that_fails_at_one_rate_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_run(_settings: Any, rate: int, *_: str) -> list[Row]:
        if rate == 5_000:
            raise bench_swap.BenchError("no traffic")
        return [Row(f"{rate:,}/s, bump of p99 at a swap", [1.0], "ms")]

    def beside_requests(*_: object) -> list[Row]:
        raise OfferError("no result")

    monkeypatch.setattr(bench_swap, "served_version", lambda _: "1.0.0")
    monkeypatch.setattr(bench_swap, "publish_twin", lambda *_: "1.1.0")
    monkeypatch.setattr(bench_swap, "swaps_at", one_run)
    monkeypatch.setattr(bench_swap, "swap_beside_requests", beside_requests)
    assert bench_swap.RATES[-1] == 10_000
    rows = list(bench_swap.swap_rows(Settings(home="x"), list(bench_swap.RATES)))
    assert [len(row.runs) for row in rows] == [1, 0, 1, 0]
    assert [row.what.rpartition(",")[0] for row in rows] == [
        "1,000/s",
        "5,000/s",
        "10,000/s",
        "HTTP single, 500/s",
    ]
    assert [rows[1].note, rows[3].note] == ["not measured: no traffic", "not measured: no result"]


def test_runs_of_the_stream_are_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.extend(command)
        return subprocess.CompletedProcess(command, 0, json.dumps(summary(8, 15)), "")

    monkeypatch.setattr(bench_stream.subprocess, "run", run)
    assert bench_stream.simulate("home", 1_000, 60, 1)["labels"] == 1_063
    assert asked[asked.index("--labels-after") + 1] == str(bench_stream.LABELS_AFTER_S)


def test_every_shape_is_a_stack_of_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Settings] = []

    @contextmanager
    def stack(_home: None, _port_base: int, *, folder: str) -> Iterator[Settings]:
        started.append(load_settings(folder))
        if started[-1].stream_replicas == started[-1].processors == 2:
            raise StackError("no room")
        yield started[-1]

    monkeypatch.setattr(bench_scaling, "running_stack", stack)
    monkeypatch.setattr(bench_scaling, "simulate", lambda *_: summary(8, 15))
    rows = list(bench_scaling.scaling_rows(5_000, 20))
    shapes = {(one.processors, one.stream_replicas, one.partitions) for one in started}
    # one and two of each, with partitions from 2 to 16
    assert shapes >= {(p, r, n) for p, r in ((1, 1), (2, 1), (1, 2)) for n in (2, 4, 16)}
    assert len(rows) == 2 * len(bench_scaling.SHAPES) - 1
    assert [row.what for row in rows if not row.runs] == ["2 processors, 2 replicas, 4 partitions"]
    assert rows[0].what == "1 processor, 1 replica, 2 partitions; 5,000/s for 20 s: p99"
