"""Heartbeats: who beats, who is ended because he stands still, and who is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack.health.standstill import ENDED, OWN, STANDS_S, Standstill, ended_in, forget, marked_with
from streams.runtime.heartbeat import FOLDER, LOOP_STANDS_S, Heartbeat
from tests.support.running import stand_still
from tests.support.waiting import until

MARK = "TOLLGATE_TEST_STANDSTILL"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A small process with a heartbeat."""
    code = (
        "import pathlib, sys, time\n"
        "from streams.runtime.heartbeat import Heartbeat\n"
        "Heartbeat().begin(pathlib.Path(sys.argv[1]), 'small-0')\n"
        "time.sleep(600)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, MARK: str(tmp_path)}
    )
    until((tmp_path / FOLDER / "small-0").exists, 60, "the first beat")
    yield child
    child.kill()
    child.wait(30)


def touched_ns(folder: Path) -> int:
    return (folder / FOLDER / "small-0").stat().st_mtime_ns


def watch(watcher: Standstill, clock: Clock, seconds: int) -> list[str]:
    found = []
    for _ in range(seconds):
        clock.now_s += 1.0
        found += watcher.look()
    return found


def test_a_frozen_process_is_ended_after_its_time_and_written_down(
    tmp_path: Path, clock: Clock, victim: subprocess.Popen[bytes]
) -> None:
    watcher = Standstill(tmp_path, marked_with(MARK, str(tmp_path)), clock)
    before = touched_ns(tmp_path)
    until(lambda: touched_ns(tmp_path) != before, 30, "another beat")
    stand_still(victim.pid)
    assert watch(watcher, clock, int(STANDS_S)) == []
    assert victim.poll() is None
    assert watch(watcher, clock, 2) == ["small-0"]
    assert victim.wait(30) == -signal.SIGKILL
    (line,) = (tmp_path / ENDED).read_text().splitlines()
    assert json.loads(line)["process"] == "small-0" and json.loads(line)["pid"] == victim.pid
    assert ended_in(tmp_path) == {"small-0": 1}
    # it is ended once
    assert watch(watcher, clock, 40) == []
    forget(tmp_path)
    assert ended_in(tmp_path) == {} and list((tmp_path / FOLDER).iterdir()) == []


def test_a_process_that_moves_lives(tmp_path: Path, clock: Clock, victim: subprocess.Popen[bytes]) -> None:
    watcher = Standstill(tmp_path, marked_with(MARK, str(tmp_path)), clock)
    for _ in range(3):
        # 25 s of the watcher's time, then a beat
        assert watch(watcher, clock, 25) == []
        before = touched_ns(tmp_path)
        until(lambda before=before: touched_ns(tmp_path) != before, 30, "another beat")
    assert victim.poll() is None


def beat_of(folder: Path, pid: int) -> Path:
    file = folder / FOLDER / "small-0"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{pid}\n")
    return file


def test_nobody_is_ended_because_the_watcher_slept(tmp_path: Path, clock: Clock) -> None:
    beat_of(tmp_path, os.getpid())
    watcher = Standstill(tmp_path, lambda _: pytest.fail("no pid is to be asked for"), clock)
    watch(watcher, clock, 5)
    clock.now_s += 3600
    assert watcher.look() == []
    assert watch(watcher, clock, 20) == []


def test_no_stranger_is_ended_and_what_has_ended_by_itself_is_forgotten(tmp_path: Path, clock: Clock) -> None:
    file = beat_of(tmp_path, os.getpid())
    watcher = Standstill(tmp_path, marked_with(MARK, "another stack"), clock)
    assert watch(watcher, clock, 40) == []
    assert not file.exists() and ended_in(tmp_path) == {}


def test_while_the_disk_fails_nobody_is_ended(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_of(tmp_path, os.getpid())
    watcher = Standstill(tmp_path, lambda _: pytest.fail("no pid is to be asked for"), clock)
    touch = Path.touch

    def fails(path: Path) -> None:
        if path.name == OWN:
            raise OSError("no space left on device")
        touch(path)

    watch(watcher, clock, 20)
    monkeypatch.setattr(Path, "touch", fails)
    assert watch(watcher, clock, 60) == []
    monkeypatch.setattr(Path, "touch", touch)
    assert watch(watcher, clock, 20) == []


def test_a_heartbeat_stops_with_its_main_loop() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    clock.now_s += 10 * LOOP_STANDS_S
    # it compiles or replays: no loop has begun
    assert heartbeat.alive
    heartbeat.moves()
    clock.now_s += LOOP_STANDS_S - 1
    assert heartbeat.alive
    clock.now_s += 1
    assert not heartbeat.alive
    heartbeat.moves()
    assert heartbeat.alive


def test_a_main_loop_that_waits_for_a_child_with_a_limit_of_its_own_beats_on() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    heartbeat.moves()
    with heartbeat.rests():
        clock.now_s += 10 * LOOP_STANDS_S
        assert heartbeat.alive
    # it has just come back: its time begins anew
    clock.now_s += LOOP_STANDS_S - 1
    assert heartbeat.alive
    clock.now_s += 1
    assert not heartbeat.alive


def test_the_list_survives_a_line_that_a_crash_cut_short(tmp_path: Path) -> None:
    (tmp_path / ENDED).write_text('{"process": "a"}\n{"process": "a"}\n{"proce')
    assert ended_in(tmp_path) == {"a": 2}
