"""What Redis does in a child of its own is done at low priority; Redis itself, and other processes' children, are left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.stack.supervisord_process import SAVES_NICE, lower_saves
from tests.support.waiting import STALL_S, until

pytestmark = pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(),
    reason="this Linux lists no children in /proc",
)


@pytest.fixture
def parents(tmp_path: Path) -> Iterator[dict[str, psutil.Process]]:
    """Two processes with a child each, one of them by the name of Redis."""
    started = {}
    try:
        for name in ("redis-server", "another"):
            shutil.copy("/bin/sh", tmp_path / name)
            started[name] = psutil.Popen([str(tmp_path / name), "-c", "sleep 60 & wait"])
        yield started
    finally:
        for parent in started.values():
            for child in parent.children():
                child.kill()
            parent.kill()
            parent.wait(10)


def child_of(parent: psutil.Process) -> psutil.Process:
    def sleeping() -> psutil.Process | None:
        return next((child for child in parent.children() if child.name() == "sleep"), None)

    found: psutil.Process = until(sleeping, STALL_S, f"a child of {parent}")
    return found


def test_only_what_redis_started_is_made_nice(parents: dict[str, psutil.Process]) -> None:
    saving, other = child_of(parents["redis-server"]), child_of(parents["another"])
    lowered = max(SAVES_NICE, psutil.Process().nice())
    lower_saves(os.getpid())
    assert saving.nice() == lowered
    assert [process.nice() for process in (other, *parents.values())] == [psutil.Process().nice()] * 3
    # again, and for a parent that is gone: nothing happens
    lower_saves(os.getpid())
    assert saving.nice() == lowered
    gone = subprocess.Popen(["true"])
    gone.wait(10)
    lower_saves(gone.pid)
