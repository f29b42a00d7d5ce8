"""Room on a disk: who has too little is named, and a wait for it says what it waits for, then goes on."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor import loggers

from infra import disk
from infra.stack.supervisord_process import keep_going


def test_free_space_is_that_of_the_disk_where_the_folder_will_be(tmp_path: Path) -> None:
    there = disk.free_mb(tmp_path)
    assert there > 0
    # others write to the same disk meanwhile
    assert disk.free_mb(tmp_path / "not" / "yet") == pytest.approx(there, rel=0.2)


def test_only_a_disk_with_too_little_room_is_named(tmp_path: Path) -> None:
    assert disk.shortages([tmp_path], 1) == []
    (text,) = disk.shortages([tmp_path], 10**9)
    assert f"the disk of {tmp_path} has" in text
    assert "1,000,000,000 MB are needed" in text


def test_waiting_for_room_backs_off_says_so_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, pauses = [100.0], []

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        now[0] += pause_s

    monkeypatch.setattr(disk, "free_mb", lambda _: 0 if now[0] < 170.0 else 80)
    with caplog.at_level(logging.WARNING):
        disk.wait_for_room(tmp_path, 64, clock=lambda: now[0], sleep=sleep)
    assert pauses[:5] == [0.5, 1.0, 2.0, 4.0, 5.0]
    assert set(pauses[4:]) == {5.0}
    first, *again, last = caplog.messages
    assert first == f"the disk of {tmp_path} is full (0 MB free): waiting for 64 MB, 0 s so far"
    assert len(again) == 2
    assert "has enough free space again after 7" in last


def test_a_program_that_waited_for_room_is_the_same_process(tmp_path: Path) -> None:
    shell = "/bin/sh"
    with subprocess.Popen(
        [sys.executable, "-m", "infra.disk", str(tmp_path), shell, "-c", "echo $$ $1", "sh", "two words"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, f"{process.pid} two words\n", "")


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """supervisord's own handlers again after the test."""
    monkeypatch.setattr(loggers.Handler, "handleError", loggers.Handler.handleError)
    monkeypatch.setattr(loggers.RotatingFileHandler, "doRollover", loggers.RotatingFileHandler.doRollover)


@pytest.mark.usefixtures("restored")
def test_supervisord_goes_on_when_a_log_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def write(self, _: str) -> None:
            raise OSError(28, "No space left on device")

        flush = write

    handler = loggers.RotatingFileHandler("/dev/full", maxBytes=100, backupCount=1)
    # its standard error lies on the same disk
    monkeypatch.setattr(sys, "stderr", Full())
    record = loggers.LogRecord(loggers.LevelsByName.INFO, b"a line of a child\n")
    with pytest.raises(OSError, match="No space"):
        handler.emit(record)
    keep_going()
    handler.emit(record)
    # rolling over closes the file, which writes what was kept back, which fails: the next lines go to a file anew
    log = tmp_path / "child.log"
    handler.baseFilename = str(log)
    for _ in range(8):
        handler.emit(record)
    assert log.read_bytes().endswith(b"a line of a child\n")
