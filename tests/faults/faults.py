"""What is done to a stack: processes killed, frozen, restarted; Redis without its last second."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from infra.stack.redis import data_dir
from infra.stack.supervisor import Supervisor
from streams.runtime.settings import Settings
from tests.support import running
from tests.support.running import until

Action = Literal["kill", "kill at the end", "freeze", "restart"]
ENDS_S = 60.0
#: what replicas that score the stream are called
REPLICAS = "scoring-stream-"
#: how often the size of Redis' log is looked at in the second before it dies
LOOK_S = 0.05


@dataclass(frozen=True)
class Fault:
    """One row of the table. ``victims``: one of them, drawn, suffers the round's action."""

    name: str
    victims: tuple[str, ...]
    actions: tuple[Action, ...]
    processors: int = 1
    misplaced: bool = False
    labels: bool = False
    #: the group whose recovery is timed
    group: str = "processor"
    #: Redis loses what was written in its last second
    loses_a_second: bool = False


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("processor", ("processor-0",), ("kill", "freeze", "restart")),
        Fault("two processors", ("processor-0", "processor-1"), ("freeze", "kill", "restart"), processors=2),
        Fault("wrong partition", ("processor-0",), ("kill", "restart", "freeze"), misplaced=True),
        Fault(
            "redis loses a second", ("redis",), ("kill", "kill at the end"), labels=True, loses_a_second=True
        ),
        Fault("broker", ("kafka",), ("kill", "restart"), labels=True),
        # Serve starts another: nobody can stop one in good order
        Fault(
            "scoring replicas", ("scoring-stream-0", "scoring-stream-1"), ("kill", "freeze"), group="scoring"
        ),
        Fault("labels worker", ("labels-0",), ("kill", "freeze", "restart"), labels=True, group="labels"),
    )
}


def pid_of(settings: Settings, name: str) -> int:
    """The pid of a process that runs."""
    if name.startswith(REPLICAS):
        # Ray's, not the supervisor's
        return int(until(lambda: running.pid_of(settings, name), ENDS_S, f"{name} to run"))

    def supervised() -> int:
        state = Supervisor(settings).states()[name]
        return int(state["pid"]) if state["statename"] == "RUNNING" else 0

    return int(until(supervised, ENDS_S, f"{name} to run"))


def state_of(settings: Settings, name: str) -> str:
    """supervisord's word for a process: RUNNING, STOPPED, BACKOFF..."""
    return str(Supervisor(settings).states()[name]["statename"])


def ensure(settings: Settings, name: str, *, running: bool) -> None:
    """Start or stop a process, and wait until it is so."""
    supervisor = Supervisor(settings)
    if running:
        if state_of(settings, name) not in ("RUNNING", "STARTING"):
            supervisor.start(name)
        until(lambda: state_of(settings, name) == "RUNNING", ENDS_S, f"{name} to run")
    else:
        if state_of(settings, name) not in ("STOPPED", "EXITED"):
            supervisor.stop(name)
        until(lambda: state_of(settings, name) in ("STOPPED", "EXITED"), ENDS_S, f"{name} to stop")


@dataclass(frozen=True)
class Inflicted:
    """``began``: the moment (``time.monotonic``) from which recovery counts. ``over`` waits until the victim goes on."""

    began: float
    over: Callable[[], None]


def inflict(
    settings: Settings, fault: Fault, action: Action, rng: random.Random, freeze_s: float
) -> Inflicted:
    """Do it now. Recovery counts from here on, after a freeze of the only worker from its end on.

    With a second worker a freeze goes on behind: the other one is to take over meanwhile.
    """
    victim = rng.choice(fault.victims)
    began = time.monotonic()
    if action == "freeze":
        frozen = threading.Thread(target=freeze, args=(pid_of(settings, victim), freeze_s))
        frozen.start()
        if len(fault.victims) > 1:
            return Inflicted(began, frozen.join)
        frozen.join()
        began = time.monotonic()
    elif fault.loses_a_second:
        lose_the_last_second(settings, rng)
    elif action == "restart":
        ensure(settings, victim, running=False)
        ensure(settings, victim, running=True)
    else:
        os.kill(pid_of(settings, victim), signal.SIGKILL)
    return Inflicted(began, lambda: None)


def freeze(pid: int, seconds: float) -> None:
    """SIGSTOP, and SIGCONT ``seconds`` later."""
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        # Serve ends a replica that does not answer it for half a minute
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def lose_the_last_second(settings: Settings, rng: random.Random) -> int:
    """Kill Redis, cut from its log some of what it wrote in its last second, start it again; returns the bytes cut."""
    log, pid = newest_log(settings), pid_of(settings, "redis")
    second_ago = log.stat().st_size
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        time.sleep(LOOK_S)
    supervisor = Supervisor(settings)
    # stopped through the supervisor, which would start it again at once; frozen, so that SIGTERM finds nobody who
    # could end in good order
    os.kill(pid, signal.SIGSTOP)
    supervisor.stop("redis")
    os.kill(pid, signal.SIGKILL)
    until(lambda: state_of(settings, "redis") in ("STOPPED", "EXITED"), ENDS_S, "Redis to be dead")
    size = log.stat().st_size
    kept = rng.randint(second_ago, size)
    os.truncate(log, kept)
    supervisor.start("redis")
    return size - kept


def newest_log(settings: Settings) -> Path:
    """The part of Redis' append-only file that is being written."""
    parts: list[Any] = sorted(
        data_dir(settings).glob("appendonlydir/*.incr.aof"),
        key=lambda path: int(path.name.split(".")[-3]),
    )
    return Path(parts[-1])
