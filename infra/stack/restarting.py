"""Restarts one process of a running stack; a process that is frozen is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from infra.stack.errors import StackError, StackUsageError
from infra.stack.health.status import ONCE, replicas
from infra.stack.programs import programs
from infra.stack.supervisor import Supervisor
from infra.stack.tools import find_tools
from streams.runtime.settings import Settings

#: beyond the time that a program has to stop by itself
GRACE_S = 10.0
STARTED_WITHIN_S = 90.0


def restart(settings: Settings, name: str, progress: Callable[[str], None]) -> None:
    """Stop a process, with SIGKILL if it does not end in its time, and start it again; returns once it runs.

    Raises:
        StackUsageError: the stack has no such process.
        StackError: no stack is running, or the process does not stop or start in time.
    """
    supervisor = Supervisor(settings)
    states = supervisor.states()
    if name in states and name not in ONCE:
        _restart_program(settings, supervisor, name, progress)
    elif any(name == replica for replica, _, _ in replicas(settings.run_dir)):
        _restart_replica(settings, name, progress)
    else:
        known = sorted({*states, *(replica for replica, _, _ in replicas(settings.run_dir))} - set(ONCE))
        raise StackUsageError(f"no process {name!r}; there are {', '.join(known)}")


def _restart_program(
    settings: Settings, supervisor: Supervisor, name: str, progress: Callable[[str], None]
) -> None:
    def word() -> str:
        return str(supervisor.states()[name]["statename"])

    stop_s = next(p.stop_wait_s for p in programs(settings, find_tools()) if p.name == name)
    progress(f"stopping {name}, which has {stop_s} s before it is killed")
    supervisor.stop(name)
    _until(lambda: word() in ("STOPPED", "EXITED", "FATAL"), stop_s + GRACE_S, f"{name} did not stop")
    progress(f"starting {name}")
    supervisor.start(name)
    _until(
        lambda: word() == "RUNNING",
        STARTED_WITHIN_S,
        f"{name} did not start: its log is {settings.log_dir / f'{name}.log'}",
    )


def _restart_replica(settings: Settings, name: str, progress: Callable[[str], None]) -> None:
    def pid() -> int:
        return next(pid for replica, pid, _ in replicas(settings.run_dir) if replica == name)

    before = pid()
    progress(f"killing {name} (pid {before}); Ray Serve starts a new one")
    try:
        os.kill(before, signal.SIGKILL)
    except ProcessLookupError:
        progress(f"{name} was gone already")
    _until(
        lambda: pid() != before,
        STARTED_WITHIN_S,
        f"Ray Serve started no new {name}: see {settings.log_dir}/scoring.log",
    )


def _until(done: Callable[[], bool], within_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            raise StackError(f"{otherwise} within {within_s:.0f} s")
        time.sleep(0.1)
