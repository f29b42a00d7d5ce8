"""Starts and stops a stack: in order, with time limits; a failed start and a stop leave no process running.

settings = start(settings_for(home, 21000), only=("kafka", "redis"))   # only these processes, for a test
stop(settings, purge=True)
"""

from __future__ import annotations

import shlex
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from infra.disk import START_FREE_MB, shortages, written_to
from infra.stack import elsewhere
from infra.stack.errors import NotReady, StackError, StackUsageError
from infra.stack.health import standstill
from infra.stack.health.status import answering, report
from infra.stack.ports import answers, busy, port_of
from infra.stack.private import private_files, private_folder
from infra.stack.programs import BESIDE, FOUNDATION, HOT_PATH, Program, named, programs
from infra.stack.secure.kafka_rights import apply_rights
from infra.stack.secure.preparing import ensure_files
from infra.stack.servers import kafka, mlflow, monitoring, redis
from infra.stack.supervisor import Supervisor, launch, marked, out_tail, socket_file
from infra.stack.tools import MIN_JAVA, Tools, find_tools
from streams.access import identity
from streams.log.topics import ensure_topics
from streams.runtime.edge_keys import ensure_keys
from streams.runtime.secured import BROKER
from streams.runtime.settings import SETTINGS_FILE, Settings, acting_as, load_settings

Progress = Callable[[str], None]

FOUNDATION_WAIT_S = 90.0
#: longest wait for the processes beside the hot path; then the stack counts as ready without them
SETTLE_S = 45.0
#: folders whose content is derived from the topics and worthless without them
FOLLOWS_FROM_LOG = ("redis", "archive", "feast", "drift", "trainer", "rollout", "run")
KAFKA_ADDRESS_FILE = "kafka.address"
#: they notice a stop, and nobody waits for them
PAGERS = ("prometheus", "alertmanager", "oncall")


def silent(_text: str) -> None:
    """A progress function that prints nothing."""


def start(
    settings: Settings,
    *,
    only: Sequence[str] | None = None,
    wait_s: float = 120.0,
    settle: bool = True,
    progress: Progress = silent,
) -> Settings:
    """Start a stack, or the processes named in ``only``, and wait until it is ready.

    With ``settle``, also wait until the processes beside the hot path have started: their start uses a whole core for
    about 15 s and would delay the first transactions.

    Returns the final settings: in embedded mode Kafka's address is known only after the start. If the stack already
    runs, only its missing processes are started. After any exception but ``NotReady``, nothing that this call started
    is left running.

    Raises:
        StackError: a program is missing, or a port is taken.
        NotReady: not ready within ``wait_s``; the processes are left running for inspection.
    """
    deadline = time.monotonic() + wait_s
    tools = find_tools()
    settings = choose_form(settings, tools, progress)
    table = programs(settings, tools)
    chosen = named(table, only) if only is not None else table
    supervisor = Supervisor(settings)
    fresh = supervisor.pid() is None
    try:
        if fresh:
            with private_files():
                settings = _prepare(settings, tools, chosen, progress)
                settings.save()
                launch(settings, tools, table)
        else:
            settings = redis.with_password(settings)
        settings = _start_foundation(settings, supervisor, chosen, deadline, progress)
        _start_stage(supervisor, chosen, HOT_PATH, progress)
        if only is not None:
            _start_stage(supervisor, chosen, BESIDE, progress)
        else:
            _until_ready(settings, supervisor, chosen, deadline, progress)
            if settle:
                _until_settled(settings, supervisor, min(deadline, time.monotonic() + SETTLE_S), progress)
    except NotReady:
        raise
    except BaseException:
        # also after Ctrl-C no process may be left running
        if fresh:
            with _uninterrupted():
                stop(settings, progress=progress)
        raise
    return settings


def stop(settings: Settings, *, purge: bool = False, progress: Progress = silent) -> int:
    """Stop all processes of a stack in reverse order; returns how many supervisord had not stopped.

    A process that ignores SIGTERM gets SIGKILL after its own time limit. With ``purge`` the folder is deleted.
    """
    supervisor = Supervisor(settings)
    pid = supervisor.pid()
    if pid is not None:
        _stop_stages(settings, supervisor, progress)
        try:
            supervisor.shutdown()
        except StackError:
            progress("supervisord has already exited")
        _wait_gone(pid, 10.0)
    ended = _end(marked(settings), progress)
    socket_file(settings).unlink(missing_ok=True)
    for path in settings.run_dir.glob("*.pid"):
        path.unlink(missing_ok=True)
    shutil.rmtree(settings.temp_dir, ignore_errors=True)
    if purge:
        _purge(settings.root)
    return ended


def choose_form(settings: Settings, tools: Tools, progress: Progress = silent) -> Settings:
    """The settings with ``embedded`` set if Kafka cannot run here, and with the places of temporary files and of Redis' socket."""
    if settings.embedded and settings.elsewhere.kafka:
        raise StackUsageError(
            "--embedded is a Kafka of the stack's own, and settings.toml names another: choose one"
        )
    embedded = settings.embedded or not (tools.real_kafka or settings.elsewhere.kafka)
    if embedded and settings.secure:
        raise StackUsageError(
            "--secure needs a real Kafka, which embedded mode is not: `tollgate doctor` says what is missing"
        )
    if embedded:
        missing = f"Java {MIN_JAVA} is missing" if tools.java is None else "Kafka's jars are missing"
        why = "" if settings.embedded else f" ({missing}: `tollgate doctor` says how to fix it)"
        progress(
            f"embedded mode{why}: librdkafka's mock cluster in place of Kafka; nothing on topics is durable, "
            "and all records are lost when it stops"
        )
    settings = msgspec.structs.replace(
        settings, embedded=embedded, temp=settings.temp or tempfile.gettempdir()
    )
    over_tcp = settings.secure or settings.elsewhere.redis is not None
    socket = "" if over_tcp else str(settings.socket_dir / "redis.sock")
    return msgspec.structs.replace(settings, redis_socket=socket)


def existing(home: Path) -> Settings | None:
    """The settings of the stack in a folder, or None if it holds none."""
    return load_settings(home) if (home / SETTINGS_FILE).exists() else None


def is_running(settings: Settings) -> bool:
    return Supervisor(settings).pid() is not None


def check_room(home: Path) -> None:
    """Raises: StackError if a disk that a stack writes to has too little free space to start it."""
    short = shortages(written_to(home), START_FREE_MB)
    if short:
        raise StackError(
            "; ".join(short) + ": free some space, or choose another --home (for temporary files: TMPDIR)"
        )


def _prepare(settings: Settings, tools: Tools, chosen: Sequence[Program], progress: Progress) -> Settings:
    """Create folders and configuration files; refuse to start on ports that are taken. Returns the settings with Redis' password."""
    leftovers = marked(settings)
    if leftovers:
        progress(f"{len(leftovers)} processes of an earlier run are still running: stopping them")
        _end(leftovers, progress)
    taken = busy(settings.port_base)
    if taken:
        raise StackError("; ".join(taken) + ": stop it, or choose other ports with --port-base")
    check_room(settings.root)
    _forget_a_lost_log(settings, progress)
    # what an earlier run left there is worthless
    shutil.rmtree(settings.temp_dir, ignore_errors=True)
    for folder in (
        settings.root,
        settings.temp_dir,
        settings.temp_dir / "tmp",
        settings.keys_dir,
        settings.run_dir,
        settings.log_dir,
        settings.bundles_dir,
        settings.archive_dir,
    ):
        private_folder(folder)
    ensure_keys(settings.edge_keys_path)
    identity.prepare(settings.access_dir, datetime.now(UTC))
    for path in settings.run_dir.glob("*.pid"):
        path.unlink()
    if settings.secure:
        ensure_files(settings.secure_files, datetime.now(UTC))
    standstill.forget(settings.run_dir)
    settings = redis.with_password(settings)
    if settings.elsewhere.redis is None:
        redis.prepare(settings)
    if settings.elsewhere.mlflow is None:
        mlflow.prepare(settings)
    monitoring.prepare(settings)
    if not settings.embedded and any(program.name == "kafka" for program in chosen):
        progress("preparing Kafka's data folder")
        kafka.prepare(settings, tools)
    (settings.run_dir / KAFKA_ADDRESS_FILE).unlink(missing_ok=True)
    return settings


def _forget_a_lost_log(settings: Settings, progress: Progress) -> None:
    """Delete state that was derived from the lost log of an earlier mock cluster.

    Raises:
        StackUsageError: embedded mode was requested, but this folder holds a real Kafka's log.
    """
    if settings.embedded and kafka.data_dir(settings).exists():
        raise StackUsageError(
            f"{settings.root} holds the log of a real Kafka, which embedded mode cannot read: use another --home"
        )
    before = existing(settings.root)
    if before is None or not before.embedded:
        return
    progress("the last broker here kept nothing: state and archive made from it are removed, models stay")
    for name in FOLLOWS_FROM_LOG:
        shutil.rmtree(settings.root / name, ignore_errors=True)


def _start_stage(supervisor: Supervisor, chosen: Sequence[Program], stage: int, progress: Progress) -> None:
    states = supervisor.states()
    names = [program.name for program in chosen if program.stage == stage]
    waiting = [name for name in names if states[name]["statename"] in ("STOPPED", "EXITED", "FATAL")]
    if waiting:
        progress("starting " + ", ".join(waiting))
    for name in waiting:
        supervisor.start(name)


def _start_foundation(
    settings: Settings, supervisor: Supervisor, chosen: Sequence[Program], deadline: float, progress: Progress
) -> Settings:
    """Start Kafka and Redis, wait until they answer, create the topics; returns settings with Kafka's real address."""
    _start_stage(supervisor, chosen, FOUNDATION, progress)
    names = {program.name for program in chosen}
    until = min(deadline, time.monotonic() + FOUNDATION_WAIT_S)
    if "kafka" in names and settings.embedded:
        settings = _learn_address(settings, until)
    if "redis" in names:
        _wait_for("redis", port_of(settings.redis), settings, supervisor, until)
    if settings.elsewhere.redis is not None:
        elsewhere.wait_for_redis(settings, until)
    if "kafka" in names:
        _wait_for("kafka", port_of(settings.kafka), settings, supervisor, until)
    if "kafka" in names or settings.elsewhere.kafka is not None:
        # of a secured stack's own Kafka; for another one it is the user of settings.toml
        owner = acting_as(settings, BROKER)
        elsewhere.wait_for_broker(owner, until)
        ensure_topics(owner.kafka, settings.partitions, elsewhere.copies(settings))
        if settings.secure and settings.elsewhere.kafka is None:
            apply_rights(settings)
            # until it knows the new users
            elsewhere.wait_for_broker(settings, until)
        progress("Kafka and Redis answer, topics exist" if "redis" in names else "Kafka answers")
    return settings


def _learn_address(settings: Settings, until: float) -> Settings:
    path = settings.run_dir / KAFKA_ADDRESS_FILE
    while not path.exists():
        if time.monotonic() > until:
            raise StackError(f"the embedded broker did not start: {out_tail(settings.log_dir / 'kafka.log')}")
        time.sleep(0.05)
    settings = msgspec.structs.replace(settings, kafka=path.read_text().strip())
    settings.save()
    return settings


def _wait_for(name: str, port: int, settings: Settings, supervisor: Supervisor, until: float) -> None:
    while not answers(port):
        failed = supervisor.states()[name]["statename"] in ("FATAL", "EXITED")
        if failed or time.monotonic() > until:
            log = settings.log_dir / f"{name}.log"
            raise StackError(f"{name} did not start: {out_tail(log)} (full log: {log})")
        time.sleep(0.1)


def _until_ready(
    settings: Settings, supervisor: Supervisor, chosen: Sequence[Program], deadline: float, progress: Progress
) -> None:
    """Wait for the hot path. The processes beside it start once it is ready, or after half of the time."""
    began = time.monotonic()
    half = began + (deadline - began) / 2
    needed = [program.name for program in chosen if program.needed]
    shown, beside = "", False
    while True:
        states = supervisor.states()
        missing = [name for name in needed if not has_begun(name, states[name]["statename"], settings)]
        ready = not missing and answering(settings)
        if not beside and (ready or time.monotonic() > half):
            _start_stage(supervisor, chosen, BESIDE, progress)
            beside = True
        if ready:
            return
        text = f"waiting for {', '.join(missing)}" if missing else f"waiting for {settings.http}"
        if text != shown:
            progress(text)
            shown = text
        if time.monotonic() > deadline:
            raise NotReady(_unready(settings, missing))
        time.sleep(0.25)


def has_begun(name: str, state: str, settings: Settings) -> bool:
    """Whether a program runs; a processor listens once its kernels are loaded, or compiled: until then it takes no records."""
    if state != "RUNNING":
        return False
    return not name.startswith("processor-") or answers(settings.metrics_port(name))


def _until_settled(settings: Settings, supervisor: Supervisor, until: float, progress: Progress) -> None:
    """Wait until MLflow, trainer and drift accept connections; ``tollgate status`` shows those that do not by then."""
    ports = {n: settings.metrics_port(n) for n in ("trainer-0", "drift-0")}
    if settings.elsewhere.mlflow is None:
        ports["mlflow"] = port_of(settings.mlflow)
    waiting = [name for name in ports if name in supervisor.states()]
    progress(f"the stack is ready; waiting for {', '.join(waiting)} to start")
    while waiting and time.monotonic() < until:
        waiting = [name for name in waiting if not answers(ports[name])]
        time.sleep(0.25)
    if waiting:
        progress(f"still starting: {', '.join(waiting)}")


def _unready(settings: Settings, missing: Sequence[str]) -> str:
    logged = [f"{name}: {out_tail(settings.log_dir / f'{name}.log')[:300]}" for name in missing]
    why = "\n  ".join(logged) if logged else f"{settings.http} does not answer"
    return (
        f"not ready in time:\n  {why}\nthe started processes are left running (logs in {settings.log_dir}); "
        f"`tollgate down --home {shlex.quote(settings.home)}` stops them"
    )


def _stop_stages(settings: Settings, supervisor: Supervisor, progress: Progress) -> None:
    try:
        table = {program.name: program for program in programs(settings, find_tools())}
    except StackError:
        table = {}
    # first who would page that the others are gone; then the clients of Kafka and Redis; then Kafka and Redis
    pagers = {name for name in PAGERS if name in table}
    clients = {name for name, program in table.items() if program.stage in (BESIDE, HOT_PATH)}
    for names in (pagers, clients, table.keys() - pagers - clients):
        try:
            _stop_stage(supervisor, {name: table[name] for name in table if name in names}, progress)
        except StackError as error:
            progress(str(error))
            return


def _stop_stage(supervisor: Supervisor, table: dict[str, Program], progress: Progress) -> None:
    def alive() -> list[str]:
        states = supervisor.states()
        gone = ("STOPPED", "EXITED", "FATAL")
        return [name for name in table if name in states and states[name]["statename"] not in gone]

    names = alive()
    if not names:
        return
    progress("stopping " + ", ".join(names))
    for name in names:
        supervisor.stop(name)
    # supervisord sends SIGKILL after each program's stop_wait_s
    deadline = time.monotonic() + max(table[name].stop_wait_s for name in names) + 5
    while alive() and time.monotonic() < deadline:
        time.sleep(0.1)


def _wait_gone(pid: int, timeout_s: float) -> None:
    try:
        process = psutil.Process(pid)
        process.wait(timeout_s)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        process.kill()


def _end(processes: list[psutil.Process], progress: Progress, grace_s: float = 5.0) -> int:
    """Send SIGTERM, then SIGKILL, by pid (psutil checks that a pid still belongs to the same process)."""
    if not processes:
        return 0
    progress(f"stopping {len(processes)} more: " + ", ".join(sorted({_name(p) for p in processes})))
    for process in processes:
        _quietly(process.terminate)
    _, left = psutil.wait_procs(processes, timeout=grace_s)
    for process in left:
        _quietly(process.kill)
    psutil.wait_procs(left, timeout=grace_s)
    return len(processes)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C inside the block: a second one must not interrupt the clean-up, which has a time limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "?"


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return


def _purge(home: Path) -> None:
    """Delete a stack's folder.

    Raises:
        StackUsageError: the folder holds no stack; it is not deleted.
    """
    if not (home / SETTINGS_FILE).exists():
        raise StackUsageError(f"{home} holds no {SETTINGS_FILE}, so it is not deleted")
    shutil.rmtree(home)


__all__ = ["Progress", "check_room", "choose_form", "existing", "is_running", "report", "start", "stop"]
