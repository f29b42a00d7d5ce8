"""Kafka and Redis with a stack's configuration, and the CPU time of their processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis

from loadtest.bench.harness.processes import cpu_s
from streams.runtime.settings import Settings, load_settings

START_WITHIN_S = 180.0


class PartsError(Exception):
    """Kafka or Redis cannot be started here; the text says why."""


@dataclass(frozen=True)
class Parts:
    """A running broker and store. ``embedded``: the broker is a mock inside a process, its CPU time says nothing."""

    settings: Settings
    embedded: bool
    kafka_pid: int
    store: Any

    def kafka_cpu_s(self) -> float:
        return cpu_s(psutil.Process(self.kafka_pid))

    def redis_cpu_s(self) -> float:
        """CPU seconds as the server reports them."""
        info = self.store.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def redis_in_bytes(self) -> float:
        """Bytes sent to the server so far."""
        return float(self.store.info("stats")["total_net_input_bytes"])


@contextmanager
def running_parts(port_base: int, *, redis_too: bool = True) -> Iterator[Parts]:
    """Start Kafka, and Redis where wanted (``port_base`` 0: anywhere free), and leave nothing behind.

    Raises:
        PartsError: a program is missing, or they were not ready in time.
    """
    home = Path(tempfile.mkdtemp(prefix="tollgate-bench-"))
    command = [sys.executable, "-m", "infra.stack.some_programs"]
    try:
        try:
            started = subprocess.run(
                [*command, "up", "kafka", *(["redis"] if redis_too else []), "--home", str(home), "--port-base", str(port_base)],
                capture_output=True, text=True, timeout=START_WITHIN_S, check=True,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            raise PartsError(f"they did not start: {error.stderr[-500:]}") from error
        except subprocess.TimeoutExpired as error:
            raise PartsError(f"they were not ready within {START_WITHIN_S:g} s") from error
        told = json.loads(started.stdout.splitlines()[-1])
        settings = load_settings(home)
        client = redis.Redis.from_url(settings.redis_address)
        yield Parts(settings, told["embedded"], told["pids"]["kafka"], client)
        client.close()
    finally:
        if (home / "settings.json").exists():
            subprocess.run(
                [*command, "down", "--home", str(home)], capture_output=True, timeout=120, check=False
            )
        shutil.rmtree(home, ignore_errors=True)
