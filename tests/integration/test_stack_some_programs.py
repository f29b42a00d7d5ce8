"""``python -m infra.stack.some_programs`` starts and stops only some programs of a stack."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import redis

from streams.runtime.settings import load_settings

WITHIN_S = 180.0


def _parts(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.stack.some_programs", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


def test_one_program_is_started_named_by_its_pid_and_ended(
    tmp_path: Path, free_port_base: Callable[[], int]
) -> None:
    home = tmp_path / "stack"
    up = _parts("up", "redis", "--home", str(home), "--port-base", str(free_port_base()))
    try:
        assert up.returncode == 0, up.stderr
        pids = json.loads(up.stdout.splitlines()[-1])["pids"]
        assert list(pids) == ["redis"]
        client = redis.Redis.from_url(load_settings(home).redis_address)
        assert client.info("server")["process_id"] == pids["redis"]
        client.close()
    finally:
        down = _parts("down", "--home", str(home))
    assert down.returncode == 0, down.stderr
    assert not psutil.pid_exists(pids["redis"])
    assert not home.exists()


def test_ports_that_cannot_be_are_bad_usage(tmp_path: Path) -> None:
    up = _parts("up", "redis", "--home", str(tmp_path / "stack"), "--port-base", "40000")
    assert up.returncode == 2
    assert "--port-base" in up.stderr
