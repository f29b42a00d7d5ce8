"""What an earlier Ray left running is ended before a new one starts, and nothing of other stacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from services.scoring.ray.leftovers import end_leftovers

WAITS = ["-c", "import sys; print(1, flush=True); sys.stdin.read()"]


def haproxy(folder: Path) -> subprocess.Popen[bytes]:
    """A process with the command line of an HAProxy whose configuration lies in ``folder``."""
    process = subprocess.Popen(
        [sys.executable, *WAITS, "-db", "-f", str(folder / "node" / "haproxy.cfg"), "-dR"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    return process


def test_only_what_this_stack_left_is_ended(tmp_path: Path) -> None:
    left, other = haproxy(tmp_path / "one" / "h"), haproxy(tmp_path / "two" / "h")
    try:
        assert end_leftovers(tmp_path / "one" / "h") == 1
        assert not psutil.pid_exists(left.pid)
        assert psutil.pid_exists(other.pid) and other.poll() is None
        assert end_leftovers(tmp_path / "one" / "h") == 0
    finally:
        for process in (left, other):
            process.kill()
            process.communicate()
