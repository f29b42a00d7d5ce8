"""supervisord for one stack: its configuration, its start, and a client over its unix socket.

supervisord restarts processes that exit; one that exits soon after its start is retried after 1, 2, 3... seconds.
"""

from __future__ import annotations

import http.client
import os
import re
import shlex
import subprocess
import time
import xmlrpc.client
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from infra.stack.errors import StackError
from infra.stack.private import UMASK, private_folder
from infra.stack.programs import Program
from infra.stack.tools import CHECKOUT, Tools
from streams.runtime.settings import Settings

#: set in the environment of every process of a stack, Ray's workers included: identifies leftover processes
MARK = "TOLLGATE_STACK"
#: the pauses grow by a second each: this many tries take about two days, then supervisord gives up
START_RETRIES = 600
#: of supervisord, after its start
ANSWERS_WITHIN_S = 15.0
_CONNECTION_ERRORS = (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError)


class Supervisor:
    """A client of a running supervisord. Calls raise ``StackError`` if it does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = f"unix://{socket_file(settings)}"

    def pid(self) -> int | None:
        """supervisord's pid, or None if it does not answer."""
        try:
            return int(self._call("getPID"))
        except StackError:
            return None

    def states(self) -> dict[str, dict[str, Any]]:
        """By process: ``statename`` (RUNNING, STARTING, BACKOFF...), ``pid``, ``start``, ``exitstatus``, ``spawnerr``."""
        return {info["name"]: info for info in self._call("getAllProcessInfo")}

    def start(self, name: str) -> None:
        """Ask supervisord to start a process; returns at once. No effect on a running process."""
        self._tolerating("ALREADY_STARTED", "startProcess", name, False)

    def stop(self, name: str) -> None:
        """Ask supervisord to stop a process; returns at once. No effect on a stopped process."""
        self._tolerating("NOT_RUNNING", "stopProcess", name, False)

    def shutdown(self) -> None:
        self._call("shutdown")

    def _tolerating(self, fault: str, method: str, *args: Any) -> None:
        try:
            self._call(method, *args)
        except xmlrpc.client.Fault as error:
            if fault not in error.faultString and "STILL_RUNNING" not in error.faultString:
                raise StackError(f"supervisord: {method} {args[0]}: {error.faultString}") from error

    def _call(self, method: str, *args: Any) -> Any:
        proxy = xmlrpc.client.ServerProxy(
            "http://127.0.0.1", transport=SupervisorTransport(None, None, self._url)
        )
        try:
            return getattr(proxy.supervisor, method)(*args)
        except _CONNECTION_ERRORS as error:
            raise StackError(
                f"no stack is running in {self._settings.home}: start one with `tollgate up`"
            ) from error
        finally:
            proxy("close")()


def socket_file(settings: Settings) -> Path:
    return settings.socket_dir / "supervisor.sock"


def config_file(settings: Settings) -> Path:
    return settings.run_dir / "supervisord.conf"


def log_file(settings: Settings) -> Path:
    return settings.log_dir / "supervisord.log"


def configuration(settings: Settings, table: Iterable[Program]) -> str:
    """supervisord.conf: no program starts automatically, because the lifecycle starts them in order."""
    sections = [
        _section(
            "supervisord",
            {
                "nodaemon": "true",
                "logfile": log_file(settings),
                "logfile_maxbytes": "20MB",
                "logfile_backups": 1,
                "pidfile": settings.run_dir / "supervisord.pid",
                "directory": CHECKOUT,
                "identifier": "tollgate",
                # supervisord sets its own umask, by default 022
                "umask": f"{UMASK:03o}",
                "strip_ansi": "true",
                "environment": _pairs(
                    (
                        (MARK, settings.home),
                        # temporary files go when the stack goes
                        ("TMPDIR", str(settings.temp_dir / "tmp")),
                    )
                ),
            },
        ),
        _section("unix_http_server", {"file": socket_file(settings), "chmod": "0700"}),
        _section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
        *(_program(settings, program) for program in table),
    ]
    return "\n".join(sections)


def _program(settings: Settings, program: Program) -> str:
    return _section(
        f"program:{program.name}",
        {
            "command": shlex.join(program.command),
            "directory": CHECKOUT,
            "environment": _pairs(program.environment),
            "autostart": "false",
            "autorestart": "true" if program.restart and not program.once else "false",
            "startsecs": program.start_s,
            "startretries": START_RETRIES if program.restart else 0,
            "stopwaitsecs": program.stop_wait_s,
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": settings.log_dir / f"{program.name}.log",
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": 2,
        },
    )


def _section(name: str, entries: dict[str, Any]) -> str:
    # in supervisord's files % starts an expansion
    lines = [f"{key}={str(value).replace('%', '%%')}" for key, value in entries.items() if value != ""]
    return "\n".join([f"[{name}]", *lines, ""])


def _pairs(environment: Iterable[tuple[str, str]]) -> str:
    quoted = ((key, value.replace("\\", "\\\\").replace('"', '\\"')) for key, value in environment)
    return ",".join(f'{key}="{value}"' for key, value in quoted)


def launch(settings: Settings, tools: Tools, table: Iterable[Program]) -> None:
    """Start supervisord in its own session and wait until it answers.

    Raises:
        StackError: it exited or did not answer in time.
    """
    for folder in (settings.socket_dir, settings.run_dir, settings.log_dir):
        private_folder(folder)
    socket_file(settings).unlink(missing_ok=True)
    log_file(settings).unlink(missing_ok=True)
    config_file(settings).write_text(configuration(settings, table))
    with (settings.log_dir / "supervisord.out").open("wb") as out:
        child = subprocess.Popen(
            [str(tools.python), "-m", "infra.stack.supervisord_process", "-n", "-c", str(config_file(settings))],
            cwd=CHECKOUT, env={**os.environ, MARK: settings.home}, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    client = Supervisor(settings)
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while client.pid() != child.pid:
        if child.poll() is not None or time.monotonic() > deadline:
            output = out_tail(settings.log_dir / "supervisord.out")
            child.kill()
            raise StackError(f"supervisord did not start: {output}")
        time.sleep(0.05)


def out_tail(path: Path) -> str:
    """The last line of a log, or "no output"."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            text = file.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return "no output"
    return text.splitlines()[-1] if text else "no output"


_SPAWNED = re.compile(r"spawned: '([^']+)' with pid")


def restarts(settings: Settings) -> Counter[str]:
    """How often each process was restarted since supervisord started, from supervisord's log."""
    spawned: Counter[str] = Counter()
    for path in (log_file(settings).with_name(log_file(settings).name + ".1"), log_file(settings)):
        if path.exists():
            spawned.update(_SPAWNED.findall(path.read_text(errors="replace")))
    return Counter({name: count - 1 for name, count in spawned.items()})


def marked(settings: Settings) -> list[psutil.Process]:
    """Every running process that this stack started, without the caller and its parents."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            if process.environ().get(MARK) == settings.home and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
