"""``tollgate profile``: a running Python process is sampled from outside; what cannot be sampled is said."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from services.cli.operating.profiling import own_time, pid_of, record
from services.cli.terminal.exits import Unreachable

BUSY = "import time\ndef spin():\n    while True:\n        sum(range(1000))\nprint('ready', flush=True)\nspin()\n"


@pytest.fixture
def busy() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


def test_the_function_that_takes_the_time_is_named_and_drawn(busy: int, tmp_path: Path) -> None:
    top = own_time(record(busy, 2, tmp_path / "busy.svg"))
    assert top[0]["function"].startswith("spin (") and top[0]["share"] > 0.5
    assert "<svg" in (tmp_path / "busy.svg").read_text() and list(tmp_path.iterdir()) == [
        tmp_path / "busy.svg"
    ]


def test_what_cannot_be_sampled_is_said(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        with pytest.raises(Unreachable, match=f"pid {other.pid} cannot be sampled"):
            record(other.pid, 1, tmp_path / "no.svg")
        other.kill()
    listed = [{"name": "labels-0", "pid": None}]
    with pytest.raises(Unreachable, match="labels-0 does not run"):
        pid_of(listed, "labels-0")
    with pytest.raises(click.UsageError, match="there are labels-0"):
        pid_of(listed, "labels")


def test_shares_are_of_all_samples() -> None:
    lines = ["main;a 6", "main;b 3", "main;a;b 1", "junk"]
    assert own_time(lines) == [{"function": "a", "share": 0.6}, {"function": "b", "share": 0.4}]
