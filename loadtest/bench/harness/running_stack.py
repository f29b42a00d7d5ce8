"""A running stack that serves a model, given or newly started, and the CPU time of its processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from streams.runtime.settings import Settings, load_settings

TOLLGATE = str(Path(sys.executable).parent / "tollgate")
#: on a busy machine a start takes minutes; for the command itself, which tries that long, a little more
READY_WITHIN_S, SERVED_WITHIN_S = 360, 90.0
START_WITHIN_S = READY_WITHIN_S + 40.0
PORT_BASE = 24900


class StackError(Exception):
    """There is no running stack with a model; the text says why."""


@contextmanager
def running_stack(
    home: str | None, port_base: int = PORT_BASE, *, folder: str | None = None
) -> Iterator[Settings]:
    """The stack in ``home``, which must serve a model; None: start one with a first model, and leave nothing behind.

    ``folder``: where that one is to be; it may hold settings.

    Raises:
        StackError: no model is served, or the stack did not start in time.
    """
    if home is not None:
        settings = load_settings(home)
        _served(settings, 1.0)
        yield settings
        return
    folder = folder or tempfile.mkdtemp(prefix="tollgate-bench-")
    try:
        tollgate(folder, "up", "--port-base", str(port_base), "--wait", str(READY_WITHIN_S), within_s=START_WITHIN_S)  # fmt: skip
        settings = load_settings(folder)
        _served(settings, SERVED_WITHIN_S)
        yield settings
    finally:
        tollgate(folder, "down", "--purge", within_s=120.0)


def processes(settings: Settings) -> list[dict[str, Any]]:
    """The stack's processes with their CPU time (``tollgate status``)."""
    # 1: it is not ready at this moment, and says so of the same processes
    told = tollgate(settings.home, "status", "--json", within_s=60.0, fine=(0, 1))
    rows: list[dict[str, Any]] = json.loads(told)["processes"]
    return rows


def _served(settings: Settings, within_s: float) -> None:
    until_s = time.monotonic() + within_s
    while True:
        try:
            if httpx.get(f"{settings.http}/readyz", timeout=5.0).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if time.monotonic() > until_s:
            raise StackError(f"{settings.http} serves no model: see `tollgate status --home {settings.home}`")
        time.sleep(0.2)


def tollgate(
    home: str, *args: str, within_s: float = START_WITHIN_S, nice: int = 0, fine: tuple[int, ...] = (0,)
) -> str:
    """Run a command on a stack; returns what it prints. ``nice``: at which priority, 19 is the lowest; ``fine``: exit codes of success.

    Raises:
        StackError: it fails, or takes longer.
    """
    command = ["nice", "-n", str(nice), TOLLGATE, *args, "--home", home]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise StackError(f"`tollgate {args[0]}` took more than {within_s:g} s") from error
    if done.returncode not in fine:
        raise StackError(f"`tollgate {args[0]}` failed: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout
