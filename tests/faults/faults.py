"""The faults: processes killed, frozen, restarted; Redis without its last second of writes."""

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

from infra.stack.servers.redis import data_dir
from infra.stack.supervisor import Supervisor
from streams.runtime.settings import Settings
from tests.support import running
from tests.support.waiting import until

Action = Literal["kill", "kill at the end", "freeze", "restart"]
ENDS_S = 60.0
#: name prefix of the replicas that score the stream
REPLICAS = "scoring-stream-"
#: how often the size of Redis' log is read in the second before it is killed
LOOK_S = 0.05


@dataclass(frozen=True)
class Fault:
    """One row of the table. The round's action is applied to one of ``victims``, drawn at random."""

    name: str
    victims: tuple[str, ...]
    actions: tuple[Action, ...]
    processors: int = 1
    misplaced: bool = False
    labels: bool = False
    #: the group whose recovery is timed
    group: str = "processor"
    #: Redis loses the writes of its last second
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
        # no orderly stop: Ray Serve offers none for a single replica and starts another
        Fault(
            "scoring replicas", ("scoring-stream-0", "scoring-stream-1"), ("kill", "freeze"), group="scoring"
        ),
        Fault("labels worker", ("labels-0",), ("kill", "freeze", "restart"), labels=True, group="labels"),
    )
}


def pid_of(settings: Settings, name: str) -> int:
    """The pid of a running process."""
    if name.startswith(REPLICAS):
        # a process of Ray, not of the supervisor
        return int(until(lambda: running.pid_of(settings, name), ENDS_S, f"{name} to run"))

    def supervised() -> int:
        state = Supervisor(settings).states()[name]
        return int(state["pid"]) if state["statename"] == "RUNNING" else 0

    return int(until(supervised, ENDS_S, f"{name} to run"))


def state_of(settings: Settings, name: str) -> str:
    """supervisord's state of a process: RUNNING, STOPPED, BACKOFF..."""
    return str(Supervisor(settings).states()[name]["statename"])


def ensure(settings: Settings, name: str, *, running: bool) -> None:
    """Start or stop a process and wait until it has happened."""
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
    """``began``: start of the recovery time (``time.monotonic``). ``over`` waits until the victim continues."""

    began: float
    over: Callable[[], None]


def inflict(
    settings: Settings, fault: Fault, action: Action, rng: random.Random, freeze_s: float
) -> Inflicted:
    """Apply an action now. Recovery time starts now, or after a freeze of the only worker, when the freeze ends.

    With a second worker a freeze continues in the background, so that the other one takes over meanwhile.
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
    """Send SIGSTOP, and SIGCONT ``seconds`` later."""
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        # Serve ends a replica that does not answer for half a minute, and the supervisor any process without a heartbeat
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def lose_the_last_second(settings: Settings, rng: random.Random) -> int:
    """Kill Redis, remove part of the last second from its log, start it again; returns the number of bytes removed."""
    log, pid = newest_log(settings), pid_of(settings, "redis")
    second_ago = log.stat().st_size
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        time.sleep(LOOK_S)
    supervisor = Supervisor(settings)
    # stopped through the supervisor, which would otherwise restart it; frozen first, so that SIGTERM cannot end it in
    # an orderly way
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
    """The part of Redis' append-only file that is currently written."""
    parts: list[Any] = sorted(
        data_dir(settings).glob("appendonlydir/*.incr.aof"),
        key=lambda path: int(path.name.split(".")[-3]),
    )
    return Path(parts[-1])
