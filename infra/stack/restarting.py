"""Restarts one process of a running stack, or all, one after the other; a process that is frozen is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import psutil
from confluent_kafka import ConsumerGroupState, KafkaException

from infra.stack.errors import StackError, StackUsageError
from infra.stack.health.asking import NoAnswer, watched
from infra.stack.health.status import ONCE, processes, replicas
from infra.stack.programs import BESIDE, programs
from infra.stack.supervisor import Supervisor
from infra.stack.tools import find_tools
from streams.runtime.kafka.clients import new_admin
from streams.runtime.settings import Settings

T = TypeVar("T")
#: beyond the time that a program has to stop by itself
GRACE_S = 10.0
STARTED_WITHIN_S = 90.0
#: of a replica; its worker is given 4 s
LEAVES_WITHIN_S = 8.0
#: of a rolling restart: until a process answers and its group has shared the partitions out; compiling kernels takes minutes
BACK_WITHIN_S = 300.0
KAFKA_ANSWERS_WITHIN_S = 5.0
#: no decision is made while one of these is away, and there is one of each: a rolling restart leaves them out unless asked for
SERVERS = ("redis", "kafka", "scoring")
#: names of groups that are not their workers'
_GROUPS = {"scoring-stream": "scoring"}
#: of a group whose members are not settled
_UNDER_WAY = (ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.COMPLETING_REBALANCING, ConsumerGroupState.UNKNOWN)  # fmt: skip
#: processes that are no member of a group of their own
_ALONE = ("scoring-http", "console", "oncall", "prometheus", "alertmanager", "mlflow", *SERVERS)


def restart(settings: Settings, name: str, progress: Callable[[str], None]) -> None:
    """Stop a process, with SIGKILL if it does not end in its time, and start it again; returns once it runs.

    Raises:
        StackUsageError: the stack has no such process.
        StackError: no stack is running, the process does not stop or start in time, or what would start it again does not run.
    """
    supervisor = Supervisor(settings)
    states = supervisor.states()
    if name in states and name not in ONCE:
        _restart_program(settings, supervisor, name, progress)
    elif any(name == replica for replica, _, _ in replicas(settings.run_dir)):
        if states.get("scoring", {}).get("statename") != "RUNNING":
            raise StackError(f"{name} is a part of scoring, which does not run: `tollgate restart scoring`")
        _restart_replica(settings, name, progress)
    else:
        known = sorted({*states, *(replica for replica, _, _ in replicas(settings.run_dir))} - set(ONCE))
        raise StackUsageError(f"no process {name!r}; there are {', '.join(known)}")


def restart_all(settings: Settings, progress: Callable[[str], None], *, servers: bool = False) -> list[str]:
    """Restart every process, the next once the one before answers and its group has shared the partitions out again; returns their names.

    First those beside the path of a decision, then along it from its end to its beginning. Of two processors or two replicas one
    goes on meanwhile. ``servers``: also Kafka, Redis and Ray, of which there is one each.

    Raises:
        StackError: no stack is running, or a process does not come back in time; those after it are not restarted.
    """
    names = rolling_order(settings, [process["name"] for process in processes(settings)], servers=servers)
    if not names:
        raise StackError(f"no stack is running in {settings.home}: start one with `tollgate up`")
    for name in names:
        before = _until(
            partial(group_members, settings, name), BACK_WITHIN_S, f"the group of {name} is not at rest"
        )
        restart(settings, name, progress)
        _until(
            partial(_is_back, settings, name, before),
            BACK_WITHIN_S,
            f"{name} runs but is not back at its work",
        )
        progress(f"{name} is back")
    return names


def rolling_order(settings: Settings, running: list[str], *, servers: bool) -> list[str]:
    """The processes of ``running`` in the order of a rolling restart."""
    beside = [program.name for program in programs(settings, find_tools()) if program.stage == BESIDE]
    watching = ["prometheus", "alertmanager", "oncall"]
    path = ["archive", "labels", "rollout", "scoring-stream", "scoring-http", "processor"]
    places = [*beside, *watching, *path]

    def place(name: str) -> int:
        kind = name if name in places else _kind(name)
        # what a later version adds comes first: it is beside the path
        return places.index(kind) if kind in places else -1

    own = sorted((name for name in running if name not in SERVERS), key=place)
    return own + ([name for name in SERVERS if name in running] if servers else [])


def _kind(name: str) -> str:
    return name.rstrip("0123456789").rstrip("-")


def _is_back(settings: Settings, name: str, before: frozenset[str]) -> bool:
    """Whether a restarted process answers, and is a member of its group, from which the one before is gone."""
    for each in watched(settings):
        if each.name == name:
            try:
                each.ask()
            except NoAnswer:
                return False
    now = group_members(settings, name)
    # the one before counts until its session has ended
    return now is not None and (
        not before or (len(now) >= len(before) and bool(now - before) and len(now & before) < len(before))
    )


def group_members(settings: Settings, name: str) -> frozenset[str] | None:
    """Ids of the members of a process' group; empty for a process that is in none. None while the group shares its partitions out, or Kafka
    does not answer.
    """
    kind = _kind(name)
    if kind in _ALONE:
        return frozenset()
    group = _GROUPS.get(kind, kind)
    # kept until the answer is there: without its client it never comes
    admin = new_admin(settings.kafka)
    try:
        asked = admin.describe_consumer_groups([group], request_timeout=KAFKA_ANSWERS_WITHIN_S)
        found = asked[group].result(timeout=KAFKA_ANSWERS_WITHIN_S + 1)
    except (KafkaException, TimeoutError):
        return None
    if found.state in _UNDER_WAY:
        return None
    return frozenset(member.member_id for member in found.members)


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
    progress(
        f"stopping {name} (pid {before}), which has {LEAVES_WITHIN_S:.0f} s before it is killed; Ray Serve starts a new one"
    )
    # a replica that leaves its group hands its partitions over at once; of one that is killed they wait for its session to end
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(before, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + LEAVES_WITHIN_S
        while _lives(before) and time.monotonic() < deadline:
            time.sleep(0.1)
    _until(
        lambda: pid() != before,
        STARTED_WITHIN_S,
        f"Ray Serve started no new {name}: see {settings.log_dir}/scoring.log",
    )


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until(look: Callable[[], T | None], within_s: float, otherwise: str) -> T:
    """What ``look`` returns as soon as it is neither None nor False.

    Raises:
        StackError: it is for ``within_s``.
    """
    deadline = time.monotonic() + within_s
    while (found := look()) is None or found is False:
        if time.monotonic() > deadline:
            raise StackError(f"{otherwise} within {within_s:.0f} s")
        time.sleep(0.1)
    return found
