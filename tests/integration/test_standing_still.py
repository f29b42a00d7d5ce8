"""A process that stands still under a real supervisord is ended and started again, and oncall counts it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import stack
from infra.stack.health.standstill import ENDED, STANDS_S
from streams.runtime.settings import Settings
from tests.support.running import pid_of, stand_still
from tests.support.waiting import STALL_S, until


def metrics(settings: Settings) -> str:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{settings.metrics_port('oncall')}/metrics", timeout=10
        ) as page:
            return str(page.read().decode())
    except OSError:
        return ""


@pytest.mark.timeout(300)
def test_a_frozen_process_is_ended_started_again_and_counted(
    tmp_path: Path, free_port_base: Callable[[], int]
) -> None:
    settings = stack.settings_for(tmp_path / "home", free_port_base())
    settings = stack.start(settings, only=("oncall", "redis"), wait_s=60)
    try:
        until(lambda: metrics(settings), STALL_S, "oncall's metrics")
        first = until(lambda: pid_of(settings, "oncall"), STALL_S, "a pid")
        stand_still(first)
        second = until(
            lambda: (pid := pid_of(settings, "oncall")) is not None and pid != first and pid,
            STANDS_S + STALL_S,
            "another process in place of the frozen one",
        )
        assert second != first
        until(
            lambda: 'tollgate_processes_stood_still_total{process="oncall"} 1.0' in metrics(settings),
            STALL_S,
            "oncall to count it",
        )
        (line,) = (settings.run_dir / ENDED).read_text().splitlines()
        assert json.loads(line)["pid"] == first and json.loads(line)["stood_s"] >= STANDS_S
        listed = {process["name"]: process for process in stack.processes(settings)}
        assert listed["oncall"]["restarts"] == 1
        # Redis has no heartbeat of ours: nobody ends it
        assert listed["redis"]["restarts"] == 0
    finally:
        stack.stop(settings, purge=True)
